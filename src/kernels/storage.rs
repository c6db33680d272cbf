//! Bytes that kernels read: owned and aligned to cache lines, or lent from a mapped file.

#![expect(unsafe_code, reason = "bytes are viewed as numbers")]

use std::ops::Range;
use std::sync::Arc;

/// Whatever keeps bytes alive and in place: a memory map, a vector.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Bytes to a cache line; weights start at a multiple of it.
pub const LINE: usize = 64;

/// Numbers for which every bit pattern is a value.
///
/// # Safety
/// The type has no padding and no invalid bit pattern, and its alignment divides [`LINE`].
pub unsafe trait Number: Copy + Send + Sync + 'static {}
// SAFETY: plain numbers of 1 to 4 bytes.
unsafe impl Number for f32 {}
// SAFETY: as above.
unsafe impl Number for i32 {}
// SAFETY: as above.
unsafe impl Number for u16 {}
// SAFETY: as above.
unsafe impl Number for i8 {}
// SAFETY: as above.
unsafe impl Number for u8 {}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// A growable buffer of numbers, aligned to [`LINE`]; what it holds is forgotten between uses.
#[derive(Default)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// Room for `len` numbers, of any content.
    pub fn numbers<T: Number>(&mut self, len: usize) -> &mut [T] {
        let lines = (len * size_of::<T>()).div_ceil(LINE);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0; LINE]));
        }
        // SAFETY: the lines hold at least `len` numbers, are aligned for them, initialised, and
        // borrowed exclusively; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: lines are arrays of bytes.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }
}

/// Read-only numbers, owned or lent.
pub struct Store<T> {
    bytes: Bytes,
    len: usize,
    numbers: std::marker::PhantomData<T>,
}

enum Bytes {
    Owned(Buffer),
    Lent(Owner, Range<usize>),
}

impl<T: Number> Store<T> {
    /// `len` numbers, zero until `fill` writes them.
    pub fn build(len: usize, fill: impl FnOnce(&mut [T])) -> Store<T> {
        let mut buffer = Buffer::default();
        fill(buffer.numbers(len));
        Store {
            bytes: Bytes::Owned(buffer),
            len,
            numbers: Default::default(),
        }
    }

    /// The numbers in `range` of what `owner` holds; copied if they are not aligned there.
    pub fn lent(owner: &Owner, range: Range<usize>) -> Result<Store<T>, String> {
        let len = range.len() / size_of::<T>();
        let bytes = (**owner).as_ref();
        let part = bytes
            .get(range.clone())
            .ok_or("the packed weights are cut short")?;
        if part.as_ptr().align_offset(align_of::<T>()) != 0 {
            return Ok(Store::build(len, |to| to.copy_from_slice(&copied(part))));
        }
        let bytes = Bytes::Lent(owner.clone(), range);
        Ok(Store {
            bytes,
            len,
            numbers: Default::default(),
        })
    }

    /// The numbers.
    pub fn numbers(&self) -> &[T] {
        let bytes = match &self.bytes {
            Bytes::Owned(buffer) => buffer.bytes(),
            Bytes::Lent(owner, range) => &(**owner).as_ref()[range.clone()],
        };
        assert!(
            bytes.len() >= self.len * size_of::<T>(),
            "the owner's bytes stay the same"
        );
        assert!(
            bytes.as_ptr().cast::<T>().is_aligned(),
            "the owner's bytes stay in place"
        );
        // SAFETY: enough bytes and aligned, both checked just now; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), self.len) }
    }
}

/// The numbers whose bytes these are, in the machine's order.
fn copied<T: Number>(bytes: &[u8]) -> Vec<T> {
    let items = bytes.chunks_exact(size_of::<T>());
    // SAFETY: each chunk has the bytes of one number; the read needs no alignment.
    items
        .map(|item| unsafe { item.as_ptr().cast::<T>().read_unaligned() })
        .collect()
}

/// The bytes of numbers, in the machine's order.
pub fn bytes_of<T: Number>(numbers: &[T]) -> &[u8] {
    // SAFETY: numbers have no padding.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lent_numbers_are_those_of_the_owner_at_any_alignment() {
        let numbers: Vec<i32> = (0..40).map(|i| i * 7 - 100).collect();
        for shift in 0..9 {
            let mut bytes = vec![0u8; shift];
            bytes.extend(bytes_of(&numbers));
            let range = shift..bytes.len();
            let owner: Owner = Arc::new(bytes);
            let store = Store::<i32>::lent(&owner, range).unwrap();
            assert_eq!(store.numbers(), numbers);
        }
    }

    #[test]
    fn a_range_beyond_the_owner_is_an_error() {
        let owner: Owner = Arc::new(vec![0u8; 16]);
        assert!(Store::<f32>::lent(&owner, 8..24).is_err());
    }
}
