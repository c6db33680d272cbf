//! The frame in front of a recording that says how long it is (Xing, Info, VBRI), and what its
//! encoder added (LAME).

use super::Header;

/// The priming of a decoder, which the tag leaves out.
const DECODER_DELAY: u64 = 529;

/// One recording in the file, of several where they were joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Song {
    /// Frames that its header promises.
    pub(super) promised: Option<u64>,
    /// Samples of priming and padding, where the header says so.
    pub(super) delay: u64,
    pub(super) padding: u64,
    pub(super) is_gapless: bool,
    /// Frames handed out.
    pub(super) done: u64,
}

impl Song {
    /// What a header frame says; `None` for a frame of audio.
    pub(super) fn read(frame: &[u8], header: &Header) -> Option<Self> {
        if header.layer != 3 {
            return None;
        }
        let side = 4 + header.side_bytes();
        let first = if header.has_crc { 6 } else { 4 };
        let is_silent = |to: usize| {
            frame
                .get(first..to)
                .is_some_and(|b| b.iter().all(|x| *x == 0))
        };
        match frame.get(side..side + 8) {
            Some([b'X', b'i', b'n', b'g', ..] | [b'I', b'n', b'f', b'o', ..])
                if is_silent(side) =>
            {
                return Self::xing(frame, side, header);
            }
            _ => {}
        }
        let vbri = frame.get(36..54)?;
        (vbri.starts_with(b"VBRI") && is_silent(36)).then(|| Self {
            promised: Some(u64::from(be32(vbri, 14))),
            ..Self::default()
        })
    }

    fn xing(frame: &[u8], side: usize, header: &Header) -> Option<Self> {
        let flags = be32(frame, side + 4);
        let mut at = side + 8;
        let promised = (flags & 1 != 0).then(|| u64::from(be32(frame, at)));
        for (bit, bytes) in [(1, 4), (2, 4), (4, 100), (8, 4)] {
            at += if flags & bit != 0 { bytes } else { 0 };
        }
        let mut song = Self {
            promised,
            ..Self::default()
        };
        let Some(tag) = frame.get(at..).filter(|tag| tag.len() >= 24) else {
            return Some(song);
        };
        let is_lame = tag.starts_with(b"LAME");
        let has_crc = tag.len() >= 36 && (header.has_crc || is_lame);
        let crc = if has_crc { be32(tag, 32) & 0xffff } else { 0 };
        song.is_gapless = crc == 0 || crc == u32::from(crc16(&frame[..at + 34]));
        if song.is_gapless && (is_lame || tag.starts_with(b"Lavf") || tag.starts_with(b"Lavc")) {
            let both = be32(tag, 20) & 0x00ff_ffff;
            song.delay = u64::from(both >> 12) + DECODER_DELAY;
            song.padding = u64::from(both & 0xfff).saturating_sub(DECODER_DELAY);
        }
        Some(song)
    }
}

/// CRC-16 of ANSI, low bit first.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xa001 } else { 0 }
        })
    })
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum() {
        assert_eq!(crc16(b"123456789"), 0xbb3d);
    }
}
