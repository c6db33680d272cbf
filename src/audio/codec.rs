//! What is known of a codec from its parameters: its name, and the samples it decodes to.

use symphonia::core::codecs::audio::well_known::{self as codecs, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder};

/// The samples a codec holds, which decides how ffmpeg computes with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Depth {
    /// Integers of at most 16 bits.
    Narrow,
    /// Wider integers.
    Wide,
    /// Floating point.
    #[default]
    Float,
}

/// Names of codecs that containers announce and nothing here decodes.
const UNDECODED: [(AudioCodecId, &str); 14] = [
    (codecs::CODEC_ID_AC3, "AC-3"),
    (codecs::CODEC_ID_EAC3, "E-AC-3"),
    (codecs::CODEC_ID_AC4, "AC-4"),
    (codecs::CODEC_ID_DCA, "DTS"),
    (codecs::CODEC_ID_TRUEHD, "TrueHD"),
    (codecs::CODEC_ID_WMA, "WMA"),
    (codecs::CODEC_ID_SPEEX, "Speex"),
    (codecs::CODEC_ID_MUSEPACK, "Musepack"),
    (codecs::CODEC_ID_WAVPACK, "WavPack"),
    (codecs::CODEC_ID_MONKEYS_AUDIO, "Monkey's Audio"),
    (codecs::CODEC_ID_TTA, "TTA"),
    (codecs::CODEC_ID_ADPCM_G722, "G.722"),
    (codecs::CODEC_ID_ADPCM_G726, "G.726"),
    (codecs::CODEC_ID_ATRAC3, "ATRAC3"),
];

/// The name that messages use for a codec.
pub(super) fn codec_name(params: &AudioCodecParameters) -> String {
    if params.codec == CODEC_ID_OPUS {
        return "opus".to_owned();
    }
    if params.codec == codecs::CODEC_ID_AAC {
        return aac_name(params);
    }
    if let Some((_, name)) = UNDECODED.iter().find(|(id, _)| *id == params.codec) {
        return (*name).to_owned();
    }
    symphonia::default::get_codecs()
        .get_audio_decoder(params.codec)
        .map_or_else(
            || "an unknown codec".to_owned(),
            |known| known.codec.info.short_name.into(),
        )
}

/// AAC with its object type and channel configuration, from the first bytes of its configuration.
fn aac_name(params: &AudioCodecParameters) -> String {
    let config = params.extra_data.as_deref().unwrap_or_default();
    let Some(&[first, second]) = config.first_chunk::<2>() else {
        return "AAC".to_owned();
    };
    // The backward compatible way to announce SBR: a sync word, object type 5, and a set flag.
    let has_sbr = config
        .windows(3)
        .skip(2)
        .any(|w| w[..2] == [0x56, 0xe5] && w[2] >> 7 == 1);
    let kind = match first >> 3 {
        1 => "Main",
        2 if has_sbr => "HE, SBR",
        2 => "LC",
        3 => "SSR",
        4 => "LTP",
        5 => "HE, SBR",
        29 => "HE v2, PS",
        23 => "LD",
        31 => "extended object type",
        _ => "another object type",
    };
    let layout = match (second >> 3) & 15 {
        0 => ", layout in the stream",
        3 => ", 3.0",
        4 => ", 4.0",
        5 => ", 5.0",
        6 => ", 5.1",
        7.. => ", 7.1",
        _ => "",
    };
    format!("AAC ({kind}{layout})")
}

/// What a codec decodes to; `decoder` is symphonia's, if it has one for the codec.
pub(super) fn depth(params: &AudioCodecParameters, decoder: Option<&dyn AudioDecoder>) -> Depth {
    use codecs::{
        CODEC_ID_AAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_PCM_F32BE,
        CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64BE, CODEC_ID_PCM_F64LE, CODEC_ID_VORBIS,
    };
    let Some(decoder) = decoder else {
        return Depth::Float;
    };
    match params.codec {
        CODEC_ID_AAC | CODEC_ID_VORBIS | CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3 => Depth::Float,
        CODEC_ID_PCM_F32LE | CODEC_ID_PCM_F32BE | CODEC_ID_PCM_F64LE | CODEC_ID_PCM_F64BE => {
            Depth::Float
        }
        codecs::CODEC_ID_PCM_ALAW | codecs::CODEC_ID_PCM_MULAW => Depth::Narrow,
        codecs::CODEC_ID_ALAC => {
            // The sixth byte of the configuration is the width of the samples.
            let bits = params
                .extra_data
                .as_ref()
                .and_then(|bytes| bytes.get(5).copied());
            if bits.is_some_and(|bits| bits <= 16) {
                Depth::Narrow
            } else {
                Depth::Wide
            }
        }
        _ => {
            let known = decoder.codec_params();
            let bits = known.bits_per_sample.or(params.bits_per_sample);
            if bits.unwrap_or(16) <= 16 {
                Depth::Narrow
            } else {
                Depth::Wide
            }
        }
    }
}
