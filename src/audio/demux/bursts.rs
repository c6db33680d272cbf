//! Compressed sound that stands in a file as samples of 16 bits, as discs and S/PDIF carry it: played
//! as what it says it is, it is noise.

/// What a burst begins with in the bytes of a file, in either order, and what is in it.
const WORDS: [([u8; 4], &str); 6] = [
    ([0x7f, 0xfe, 0x80, 0x01], "DTS in PCM"),
    ([0xfe, 0x7f, 0x01, 0x80], "DTS in PCM"),
    ([0x1f, 0xff, 0xe8, 0x00], "DTS in PCM"),
    ([0xff, 0x1f, 0x00, 0xe8], "DTS in PCM"),
    ([0xf8, 0x72, 0x4e, 0x1f], S_PDIF),
    ([0x72, 0xf8, 0x1f, 0x4e], S_PDIF),
];
const S_PDIF: &str = "a compressed stream in PCM (S/PDIF)";
/// Kinds of bursts on S/PDIF; IEC 61937-2, table 2.
const KINDS: [(u8, &str); 6] = [
    (1, "AC-3 in PCM (S/PDIF)"),
    (11, "DTS in PCM (S/PDIF)"),
    (12, "DTS in PCM (S/PDIF)"),
    (13, "DTS in PCM (S/PDIF)"),
    (21, "E-AC-3 in PCM (S/PDIF)"),
    (22, "TrueHD in PCM (S/PDIF)"),
];
/// Bytes of samples that are searched: three bursts of E-AC-3, of 6,144 frames each.
pub(super) const SEARCH_BYTES: u64 = 96 << 10;
/// The shortest a burst can be; samples may hold the same word twice by chance.
const LEAST_BYTES: usize = 96;

/// The name of the stream whose bursts these samples are: three, of the same length.
pub(super) fn name(samples: &[u8]) -> Option<&'static str> {
    WORDS.iter().find_map(|(word, name)| {
        let mut places = samples
            .windows(4)
            .enumerate()
            .filter(|(_, bytes)| bytes == word)
            .map(|(at, _)| at);
        let [first, second, third] = [places.next()?, places.next()?, places.next()?];
        let is_even = second - first == third - second && first % 2 == 0;
        (is_even && second - first >= LEAST_BYTES).then(|| match *name {
            S_PDIF => kind(&samples[first..]),
            name => name,
        })
    })
}

fn kind(burst: &[u8]) -> &'static str {
    let low = if burst[0] == 0xf8 { 5 } else { 4 };
    let kind = burst.get(low).map(|byte| byte & 31);
    let known = KINDS.iter().find(|(number, _)| Some(*number) == kind);
    known.map_or(S_PDIF, |(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_told_by_three_words_at_equal_distances() {
        let burst = |word: &[u8], bytes: usize| {
            let mut burst = word.to_vec();
            burst.resize(bytes, 0x11);
            burst
        };
        let dts = burst(b"\xfe\x7f\x01\x80", 2048);
        assert_eq!(name(&dts.repeat(3)), Some("DTS in PCM"));
        assert_eq!(
            name(&[vec![0; 500], dts.repeat(4)].concat()),
            Some("DTS in PCM")
        );
        let ac3 = burst(b"\x72\xf8\x1f\x4e\x01\x00", 6144);
        assert_eq!(name(&ac3.repeat(3)), Some("AC-3 in PCM (S/PDIF)"));
        let other = burst(b"\xf8\x72\x4e\x1f\x00\x1d", 6144);
        assert_eq!(name(&other.repeat(3)), Some(S_PDIF));
        // Twice, at unequal distances, and as a wave that is cut at full scale.
        assert_eq!(name(&dts.repeat(2)), None);
        assert_eq!(name(&[dts.repeat(2), vec![1; 8], dts].concat()), None);
        assert_eq!(name(&b"\xfe\x7f\x01\x80".repeat(5000)), None);
    }
}
