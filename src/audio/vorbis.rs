//! The headers of Vorbis, which containers other than Ogg keep in one piece.

use std::ops::Range;

/// The first and the third of Vorbis' three headers, which stand one behind the other.
pub(super) fn vorbis_headers(private: &[u8]) -> Option<Vec<u8>> {
    let (count, mut rest) = private.split_first()?;
    let mut sizes = Vec::new();
    for _ in 0..*count {
        let mut size = 0;
        loop {
            let (byte, next) = rest.split_first()?;
            rest = next;
            size += usize::from(*byte);
            if *byte != 255 {
                break;
            }
        }
        sizes.push(size);
    }
    let mut headers = Vec::new();
    for size in sizes {
        let (header, next) = rest.split_at_checked(size)?;
        headers.push(header);
        rest = next;
    }
    headers.push(rest);
    let of_kind = |kind: u8| headers.iter().find(|header| header.first() == Some(&kind));
    Some([*of_kind(1)?, *of_kind(5)?].concat())
}

/// Makes headers fit for the decoder: the first and the third, one behind the other.
///
/// The steps of channel coupling are turned around. They are undone from the last to the first
/// (Vorbis I, section 4.3.5), which matters from three channels on, where one takes part in several;
/// the decoder undoes them from the first on. Headers that make no sense stay as they are, since the
/// decoder says why.
///
/// # Errors
/// For residues that the decoder would make noise of.
pub(super) fn fit(headers: &mut [u8]) -> Result<(), String> {
    let Some(setup) = Setup::read(headers) else {
        return Ok(());
    };
    if let Some(channels) = setup.mistaken {
        let way = "no decoder for residues of that kind in";
        return Err(format!("{way} {channels} channels side by side"));
    }
    for steps in setup.couplings {
        turn(headers, &steps);
    }
    Ok(())
}

/// What the headers say of channels.
#[derive(Default)]
struct Setup {
    couplings: Vec<Couplings>,
    /// The number of channels whose residues the decoder mistakes.
    mistaken: Option<usize>,
}

/// The steps of coupling of one mapping.
struct Couplings {
    /// The bits of all steps.
    pairs: Range<usize>,
    /// Bits of one: the channel of the magnitude, and that of the angle.
    width: usize,
}

/// Bytes of the first header, and of what every header begins with.
const FIRST_HEADER: usize = 30;
const COMMON_HEADER: usize = 7;

impl Setup {
    /// Mappings stand behind code books, floors and residues, whose sizes only they know.
    fn read(headers: &[u8]) -> Option<Self> {
        let channels = usize::from(*headers.get(11)?);
        let sizes = *headers.get(28)?;
        let halves = [sizes & 15, sizes >> 4].map(|size| (1 << size) / 2);
        let (mut dimensions, mut residues) = (Vec::new(), Vec::new());
        let mut bits = Bits::new(headers, (FIRST_HEADER + COMMON_HEADER) * 8);
        bits.times(8, |bits| {
            dimensions.push(bits.code_book()?);
            Some(())
        })?;
        bits.times(6, |bits| bits.skip(16))?;
        bits.times(6, Bits::floor)?;
        bits.times(6, |bits| {
            let residue = bits.residue()?;
            residues.push(residue.is_mistaken(halves, &dimensions)?);
            Some(())
        })?;
        let mut setup = Self::default();
        bits.times(6, |bits| bits.mapping(channels, &residues, &mut setup))?;
        Some(setup)
    }
}

fn turn(headers: &mut [u8], steps: &Couplings) {
    let count = steps.pairs.len() / steps.width;
    let pair = |at: usize| steps.pairs.start + at * steps.width;
    for at in 0..count / 2 {
        let (at, other) = (pair(at), pair(count - 1 - at));
        let read = |at| Bits::new(headers, at).read(steps.width);
        if let (Some(first), Some(last)) = (read(at), read(other)) {
            write(headers, at, steps.width, last);
            write(headers, other, steps.width, first);
        }
    }
}

/// Where residues stand, and how many there are for one word of classes.
struct Residue {
    kind: u32,
    begin: usize,
    end: usize,
    partition: usize,
    class_book: usize,
}

impl Residue {
    /// Whether several channels by themselves (kinds 0 and 1) don't fill their last word of classes:
    /// the decoder takes its rest for the first classes of the next channel.
    fn is_mistaken(&self, halves: [usize; 2], dimensions: &[usize]) -> Option<bool> {
        let classes = *dimensions.get(self.class_book)?;
        let spills = |half: usize| {
            let len = self.end.min(half).saturating_sub(self.begin.min(half));
            !(len / self.partition).is_multiple_of(classes)
        };
        Some(self.kind != 2 && halves.into_iter().any(spills))
    }
}

fn write(bytes: &mut [u8], from: usize, width: usize, value: u32) {
    for bit in 0..width {
        let (at, mask) = ((from + bit) / 8, 1 << ((from + bit) % 8));
        if value >> bit & 1 == 1 {
            bytes[at] |= mask;
        } else {
            bytes[at] &= !mask;
        }
    }
}

/// Bits that a number takes.
fn width(number: u32) -> usize {
    (u32::BITS - number.leading_zeros()) as usize
}

/// Reads bits, the lowest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Up to 32 bits.
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for bit in 0..count {
            let byte = u32::from(*self.bytes.get(self.at / 8)?);
            value |= (byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(value)
    }

    fn size(&mut self, count: usize) -> Option<usize> {
        self.read(count).map(|value| value as usize)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// Reads a count of so many bits, one less than it says, and that many items.
    fn times(&mut self, count: usize, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        (0..=self.read(count)?).try_for_each(|_| item(self))
    }

    /// Section 3.2.1: the dimensions of a code book.
    fn code_book(&mut self) -> Option<usize> {
        self.skip(24)?;
        let (dimensions, entries) = (self.read(16)?, self.read(24)?);
        if self.read(1)? == 1 {
            self.skip(5)?;
            let mut left = entries;
            while left > 0 {
                left = left.checked_sub(self.read(width(left))?)?;
            }
        } else if self.read(1)? == 1 {
            for _ in 0..entries {
                let is_used = self.size(1)?;
                self.skip(5 * is_used)?;
            }
        } else {
            self.skip(5 * entries as usize)?;
        }
        let values = match self.read(4)? {
            0 => return Some(dimensions as usize),
            1 => lattice(entries, dimensions)?,
            _ => u64::from(entries) * u64::from(dimensions),
        };
        self.skip(64)?;
        let width = self.size(4)? + 1;
        self.skip(1)?;
        self.skip(usize::try_from(values).ok()?.checked_mul(width)?)?;
        Some(dimensions as usize)
    }

    /// Sections 6.2.1 and 7.2.2.
    fn floor(&mut self) -> Option<()> {
        if self.read(16)? == 0 {
            self.skip(8 + 16 + 16 + 6 + 8)?;
            return self.times(4, |bits| bits.skip(8));
        }
        let count = self.read(5)?;
        let classes: Vec<_> = (0..count).map(|_| self.size(4)).collect::<Option<_>>()?;
        let mut dimensions = Vec::new();
        for _ in 0..classes.iter().max().map_or(0, |last| last + 1) {
            dimensions.push(self.size(3)? + 1);
            let subclasses = self.size(2)?;
            self.skip(if subclasses > 0 { 8 } else { 0 })?;
            self.skip(8 << subclasses)?;
        }
        self.skip(2)?;
        let width = self.size(4)?;
        let points: usize = classes.iter().map(|class| dimensions[*class]).sum();
        self.skip(points * width)
    }

    /// Section 8.6.1.
    fn residue(&mut self) -> Option<Residue> {
        let (kind, begin, end) = (self.read(16)?, self.size(24)?, self.size(24)?);
        let partition = self.size(24)? + 1;
        let classes = self.read(6)? + 1;
        let class_book = self.size(8)?;
        let mut books = 0;
        for _ in 0..classes {
            let low = self.read(3)?;
            let high = if self.read(1)? == 1 { self.read(5)? } else { 0 };
            books += (low.count_ones() + high.count_ones()) as usize;
        }
        self.skip(8 * books)?;
        Some(Residue {
            kind,
            begin,
            end,
            partition,
            class_book,
        })
    }

    /// Section 4.2.4: the couplings of a mapping, and whether its residues are mistaken.
    fn mapping(&mut self, channels: usize, mistaken: &[bool], setup: &mut Setup) -> Option<()> {
        self.skip(16)?;
        let submaps = if self.read(1)? == 1 {
            self.size(4)? + 1
        } else {
            1
        };
        if self.read(1)? == 1 {
            let steps = self.size(8)? + 1;
            let width = 2 * width(u32::try_from(channels.checked_sub(1)?).ok()?);
            let pairs = self.at..self.at + steps * width;
            self.skip(pairs.len())?;
            let found = (width > 0).then_some(Couplings { pairs, width });
            setup.couplings.extend(found);
        }
        self.skip(2)?;
        let mut of = vec![0; channels];
        for submap in of.iter_mut().filter(|_| submaps > 1) {
            *submap = self.size(4)?;
        }
        for submap in 0..submaps {
            self.skip(16)?;
            let residue = self.size(8)?;
            let count = of.iter().filter(|of| **of == submap).count();
            if count > 1 && *mistaken.get(residue)? {
                setup.mistaken = Some(count);
            }
        }
        Some(())
    }
}

/// Values of a lattice: the largest number whose power by the dimensions is no more than the entries
/// (section 9.2.3).
fn lattice(entries: u32, dimensions: u32) -> Option<u64> {
    let fits = |side: &u64| {
        let power = side.checked_pow(dimensions);
        power.is_some_and(|power| power <= u64::from(entries))
    };
    match dimensions {
        0 => None,
        1 => Some(entries.into()),
        _ => Some((1..).take_while(fits).last().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stand_one_behind_the_other() {
        let laced = [2, 2, 1, 1, 9, 3, 5, 8, 8];
        assert_eq!(vorbis_headers(&laced), Some(vec![1, 9, 5, 8, 8]));
        assert_eq!(vorbis_headers(&laced[..3]), None);
    }
}
