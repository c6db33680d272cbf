//! The tags by which containers name their codecs: what reads them here, or what they are called.

use symphonia::core::codecs::audio::AudioCodecId;
use symphonia::core::codecs::audio::well_known as codecs;

/// What a tag stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coded {
    /// A codec whose parameters need no more than its configuration.
    As(AudioCodecId),
    /// Plain samples; the container says how wide.
    Pcm,
    /// A codec that nothing here decodes.
    Undecoded(&'static str),
}

use Coded::{As, Pcm, Undecoded as No};

/// Format tags of wav (and of Matroska's `A_MS/ACM`). `Pcm` is 1 and 3.
const WAVE_TAGS: [(u16, Coded); 45] = [
    (0x0001, Pcm),
    (0x0002, As(codecs::CODEC_ID_ADPCM_MS)),
    (0x0003, Pcm),
    (0x0005, No("IBM CVSD")),
    (0x0006, As(codecs::CODEC_ID_PCM_ALAW)),
    (0x0007, As(codecs::CODEC_ID_PCM_MULAW)),
    (0x0008, No("DTS")),
    (0x000a, No("Windows Media Voice (WMA)")),
    (0x0010, No("OKI ADPCM")),
    (0x0011, As(codecs::CODEC_ID_ADPCM_IMA_WAV)),
    (0x0014, No("G.723 ADPCM")),
    (0x0016, No("G.723.1")),
    (0x0020, No("Yamaha ADPCM")),
    (0x0022, No("TrueSpeech")),
    (0x0031, No("GSM 6.10")),
    (0x0032, No("GSM 6.10 (MSN)")),
    (0x0038, No("AMR-NB")),
    (0x0040, No("G.721 ADPCM")),
    (0x0042, No("G.723.1")),
    (0x0045, No("G.726")),
    (0x0050, As(codecs::CODEC_ID_MP2)),
    (0x0055, As(codecs::CODEC_ID_MP3)),
    (0x0057, No("AMR-NB")),
    (0x0058, No("AMR-WB")),
    (0x0061, No("Duck ADPCM")),
    (0x0064, No("G.726")),
    (0x0065, No("G.722")),
    (0x0083, No("G.729")),
    (0x0092, No("AC-3 over S/PDIF")),
    (0x00ff, No("AAC in wav")),
    (0x0130, No("ACELP")),
    (0x0133, No("G.729")),
    (0x0160, No("WMA 1 (Windows Media Audio)")),
    (0x0161, No("WMA 2 (Windows Media Audio)")),
    (0x0162, No("WMA Pro (Windows Media Audio)")),
    (0x0163, No("WMA Lossless (Windows Media Audio)")),
    (0x0270, No("ATRAC3")),
    (0x028f, No("G.722")),
    (0x1600, No("AAC in wav")),
    (0x1610, No("HE-AAC in wav")),
    (0x2000, No("AC-3")),
    (0x2001, No("DTS")),
    (0x566f, No("Vorbis in wav")),
    (0xa109, No("Speex")),
    (0xf1ac, No("FLAC in wav")),
];

/// Sample entries of QuickTime and MP4, compression types of AIFC, formats of CAF.
const FOURCCS: [(&[u8; 4], Coded); 62] = [
    (b"raw ", Pcm),
    (b"NONE", Pcm),
    (b"none", Pcm),
    (b"\0\0\0\0", Pcm),
    (b"twos", Pcm),
    (b"TWOS", Pcm),
    (b"sowt", Pcm),
    (b"SOWT", Pcm),
    (b"in24", Pcm),
    (b"IN24", Pcm),
    (b"in32", Pcm),
    (b"IN32", Pcm),
    (b"42ni", Pcm),
    (b"23ni", Pcm),
    (b"23NI", Pcm),
    (b"fl32", Pcm),
    (b"FL32", Pcm),
    (b"fl64", Pcm),
    (b"FL64", Pcm),
    (b"lpcm", Pcm),
    (b"ipcm", Pcm),
    (b"fpcm", Pcm),
    (b"alaw", As(codecs::CODEC_ID_PCM_ALAW)),
    (b"ALAW", As(codecs::CODEC_ID_PCM_ALAW)),
    (b"ulaw", As(codecs::CODEC_ID_PCM_MULAW)),
    (b"ULAW", As(codecs::CODEC_ID_PCM_MULAW)),
    (b"ima4", As(codecs::CODEC_ID_ADPCM_IMA_QT)),
    (b"mp4a", As(codecs::CODEC_ID_AAC)),
    (b"aac ", As(codecs::CODEC_ID_AAC)),
    (b"alac", As(codecs::CODEC_ID_ALAC)),
    (b"fLaC", As(codecs::CODEC_ID_FLAC)),
    (b"flac", As(codecs::CODEC_ID_FLAC)),
    (b"Opus", As(codecs::CODEC_ID_OPUS)),
    (b"opus", As(codecs::CODEC_ID_OPUS)),
    (b".mp1", As(codecs::CODEC_ID_MP1)),
    (b".mp2", As(codecs::CODEC_ID_MP2)),
    (b".mp3", As(codecs::CODEC_ID_MP3)),
    (b"mp3 ", As(codecs::CODEC_ID_MP3)),
    (b"ms\0U", As(codecs::CODEC_ID_MP3)),
    (b"aach", No("HE-AAC")),
    (b"aacp", No("HE-AAC v2")),
    (b"ac-3", No("AC-3")),
    (b"ec-3", No("E-AC-3")),
    (b"ac-4", No("AC-4")),
    (b"dtsc", No("DTS")),
    (b"dtsh", No("DTS-HD")),
    (b"dtsl", No("DTS-HD Lossless")),
    (b"dtse", No("DTS Express")),
    (b"mlpa", No("TrueHD")),
    (b"samr", No("AMR-NB")),
    (b"sawb", No("AMR-WB")),
    (b"sqcp", No("QCELP")),
    (b"Qclp", No("QCELP")),
    (b"agsm", No("GSM 6.10")),
    (b"GSM ", No("GSM 6.10")),
    (b"QDM2", No("QDesign Music 2")),
    (b"QDMC", No("QDesign Music")),
    (b"MAC3", No("MACE 3:1")),
    (b"MAC6", No("MACE 6:1")),
    (b"G722", No("G.722")),
    (b"spex", No("Speex")),
    (b"wma ", No("WMA (Windows Media Audio)")),
];

/// What Matroska's codec ids begin with; the longest come first.
const MATROSKA: [(&str, Coded); 29] = [
    ("A_MPEG/L1", As(codecs::CODEC_ID_MP1)),
    ("A_MPEG/L2", As(codecs::CODEC_ID_MP2)),
    ("A_MPEG/L3", As(codecs::CODEC_ID_MP3)),
    ("A_PCM/", Pcm),
    ("A_FLAC", As(codecs::CODEC_ID_FLAC)),
    ("A_OPUS", As(codecs::CODEC_ID_OPUS)),
    ("A_VORBIS", As(codecs::CODEC_ID_VORBIS)),
    ("A_AAC", As(codecs::CODEC_ID_AAC)),
    ("A_ALAC", As(codecs::CODEC_ID_ALAC)),
    ("A_MPC", No("Musepack")),
    ("A_AC3", No("AC-3")),
    ("A_AC4", No("AC-4")),
    ("A_EAC3", No("E-AC-3")),
    ("A_TRUEHD", No("TrueHD")),
    ("A_MLP", No("MLP")),
    ("A_DTS", No("DTS")),
    ("A_TTA", No("TTA")),
    ("A_WAVPACK", No("WavPack")),
    ("A_ATRAC/AT1", No("ATRAC1")),
    ("A_REAL/ATRC", No("ATRAC3 (RealAudio)")),
    ("A_REAL/14_4", No("RealAudio 14.4")),
    ("A_REAL/28_8", No("RealAudio 28.8")),
    ("A_REAL/COOK", No("Cook (RealAudio)")),
    ("A_REAL/SIPR", No("Sipro (RealAudio)")),
    ("A_REAL", No("RealAudio")),
    ("A_QUICKTIME/QDM2", No("QDesign Music 2")),
    ("A_QUICKTIME/QDMC", No("QDesign Music")),
    ("A_QUICKTIME", No("a QuickTime codec")),
    ("A_SPEEX", No("Speex")),
];

/// First bytes of Ogg streams that are not decoded.
pub(super) const OGG_STREAMS: [(&[u8], &str); 8] = [
    (b"Speex   ", "Speex"),
    (b"\x80theora", "Theora video"),
    (b"CELT    ", "CELT"),
    (b"PCM     ", "OggPCM"),
    (b"OggMIDI\0", "MIDI"),
    (b"BBCD\0", "Dirac video"),
    (b"\x01vorbis", "Vorbis of an unknown kind"),
    (b"fLaC", "FLAC in the old way"),
];

/// What a wav format tag stands for.
pub(super) fn wave(tag: u16) -> Option<Coded> {
    let found = WAVE_TAGS.iter().find(|(known, _)| *known == tag);
    found.map(|(_, coded)| *coded)
}

/// What four characters stand for; QuickTime's `ms` entries hold a wav tag.
pub(super) fn fourcc(tag: [u8; 4]) -> Option<Coded> {
    if let Some((_, coded)) = FOURCCS.iter().find(|(known, _)| **known == tag) {
        return Some(*coded);
    }
    match tag {
        [b'm', b's', high, low] => wave(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// What a Matroska codec id stands for.
pub(super) fn matroska(id: &str) -> Option<Coded> {
    let found = MATROSKA.iter().find(|(known, _)| id.starts_with(known));
    found.map(|(_, coded)| *coded)
}

/// A name for a tag that no table knows.
pub(super) fn unknown(tag: &[u8]) -> String {
    let readable = tag.iter().all(|byte| (0x20..0x7f).contains(byte));
    match readable {
        true => format!("an unknown codec ({})", String::from_utf8_lossy(tag)),
        false => {
            let digits: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("an unknown codec (0x{digits})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_tag_twice_and_prefixes_in_order() {
        for (at, (tag, _)) in WAVE_TAGS.iter().enumerate() {
            assert!(WAVE_TAGS[at + 1..].iter().all(|(other, _)| other > tag));
        }
        for (at, (tag, _)) in FOURCCS.iter().enumerate() {
            let tag = *tag;
            assert!(FOURCCS[at + 1..].iter().all(|(other, _)| *other != tag));
        }
        for (at, (id, _)) in MATROSKA.iter().enumerate() {
            let hidden = MATROSKA[at + 1..].iter().find(|(o, _)| o.starts_with(id));
            assert_eq!(hidden, None);
        }
    }

    #[test]
    fn tags_are_named() {
        assert_eq!(wave(0x31), Some(No("GSM 6.10")));
        assert_eq!(fourcc(*b"ms\0\x55"), Some(As(codecs::CODEC_ID_MP3)));
        assert_eq!(fourcc(*b"ms\x01\x61"), wave(0x161));
        assert_eq!(matroska("A_AC3/BSID9"), Some(No("AC-3")));
        assert_eq!(matroska("A_AAC/MPEG4/LC"), Some(As(codecs::CODEC_ID_AAC)));
        assert_eq!(unknown(b"abcd"), "an unknown codec (abcd)");
        assert_eq!(unknown(&[0, 1]), "an unknown codec (0x0001)");
    }
}
