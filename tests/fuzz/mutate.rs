//! Random changes to bytes, the kinds that readers of files trip over. A seed gives the same ones.

/// A small generator (xorshift), so that runs can be repeated.
pub struct Random(pub u64);

impl Random {
    /// The next number below `n`, which is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap_or(0)
    }
}

/// Numbers at which sizes and offsets break.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0xffff,
    1 << 20,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];
/// What breaks readers of text.
const WORDS: [&[u8]; 10] = [
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":",
    b"\"\\ud800\"",
    b"\xff\xfe",
    b"../../x",
    b"true",
];

/// One to eight changes; `other` is a second file to take pieces from.
pub fn mutated(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let most = 1 << random.below(4);
    for _ in 0..=random.below(most) {
        change(random, &mut bytes, other);
    }
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.extend(other.iter().take(64));
        return;
    }
    let at = place(random, bytes.len());
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => edge(random, &mut bytes[at..]),
        3 => nudge(random, &mut bytes[at..]),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..at + random.below(64.min(bytes.len() - at)))),
        6 => {
            let from = random.below(bytes.len());
            let piece = bytes[from..bytes.len().min(from + 1 + random.below(64))].to_vec();
            bytes.splice(at..at, piece);
        }
        7 => {
            let word = WORDS[random.below(WORDS.len())];
            let end = bytes.len().min(at + random.below(word.len() + 1));
            bytes.splice(at..end, word.iter().copied());
        }
        _ => {
            let from = random.below(other.len().max(1)).min(other.len());
            let piece = &other[from..other.len().min(from + 1 + random.below(256))];
            let end = bytes.len().min(at + piece.len());
            bytes.splice(at..end, piece.iter().copied());
        }
    }
}

/// Anywhere; more often near the ends, where indexes are.
fn place(random: &mut Random, len: usize) -> usize {
    match random.below(4) {
        0 => random.below(len.min(128)),
        1 => len - 1 - random.below(len.min(4096)),
        2 => random.below(len.min(4096)),
        _ => random.below(len),
    }
}

/// Puts in a number of one to eight bytes at which something overflows.
fn edge(random: &mut Random, bytes: &mut [u8]) {
    let number = EDGES[random.below(EDGES.len())].to_le_bytes();
    let width = 1 << random.below(4);
    let width = width.min(bytes.len());
    bytes[..width].copy_from_slice(&number[..width]);
}

/// Makes a number of four bytes a little larger or smaller.
fn nudge(random: &mut Random, bytes: &mut [u8]) {
    if let Some(word) = bytes.first_chunk_mut::<4>() {
        let by = random.below(33) as u32;
        *word = u32::from_le_bytes(*word)
            .wrapping_add(by)
            .wrapping_sub(16)
            .to_le_bytes();
    }
}
