//! Memory that kernels read and write: owned and aligned to cache lines, or lent from a mapped file.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::thread::LocalKey;

use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};

/// Whatever keeps bytes alive and in place: a memory map, a vector.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Bytes to a cache line; weights start at a multiple of it.
pub const LINE: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Growable memory for items of any plain type, aligned to [`LINE`].
#[derive(Default)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// Room for `len` items, all zero.
    pub fn zeroed<T: Pod>(len: usize) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.numbers::<T>(len);
        buffer
    }

    /// The first `len` items, which hold whatever was there before; grows where there are fewer.
    pub fn numbers<T: Pod>(&mut self, len: usize) -> &mut [T] {
        let lines = (len * size_of::<T>()).div_ceil(LINE);
        if self.0.len() < lines {
            self.0.resize(lines, Line::zeroed());
        }
        &mut self.items_mut()[..len]
    }

    /// All items there is room for, up to the end of the last line.
    pub fn items<T: Pod>(&self) -> &[T] {
        cast_slice(&self.0)
    }

    /// As [`Buffer::items`], to be written.
    pub fn items_mut<T: Pod>(&mut self) -> &mut [T] {
        cast_slice_mut(&mut self.0)
    }
}

/// Read-only items, owned or lent. Clones share them.
#[derive(Clone)]
pub struct Store<T> {
    memory: Memory,
    len: usize,
    items: std::marker::PhantomData<T>,
}

#[derive(Clone)]
enum Memory {
    Owned(Arc<Buffer>),
    Lent(Owner, Range<usize>),
}

impl<T: Pod> Store<T> {
    fn new(memory: Memory, len: usize) -> Store<T> {
        Store {
            memory,
            len,
            items: Default::default(),
        }
    }

    /// `len` items, zero until `fill` writes them.
    pub fn build(len: usize, fill: impl FnOnce(&mut [T])) -> Store<T> {
        let mut buffer = Buffer::default();
        fill(buffer.numbers(len));
        Store::new(Memory::Owned(Arc::new(buffer)), len)
    }

    /// The items in `range` of the bytes that `owner` holds; copied if they are not aligned there.
    pub fn lent(owner: &Owner, range: Range<usize>) -> Result<Store<T>, String> {
        let len = range.len() / size_of::<T>();
        let bytes = (**owner).as_ref();
        let part = bytes
            .get(range.clone())
            .ok_or("the packed weights are cut short")?;
        if !part.as_ptr().cast::<T>().is_aligned() {
            let items = part.chunks_exact(size_of::<T>());
            let copied = items.map(bytemuck::pod_read_unaligned);
            let fill = |to: &mut [T]| to.iter_mut().zip(copied).for_each(|(to, item)| *to = item);
            return Ok(Store::build(len, fill));
        }
        Ok(Store::new(Memory::Lent(owner.clone(), range), len))
    }

    /// The items.
    ///
    /// # Panics
    /// If the owner's bytes have changed their number or their place.
    pub fn numbers(&self) -> &[T] {
        match &self.memory {
            Memory::Owned(buffer) => &buffer.items()[..self.len],
            Memory::Lent(owner, range) => {
                let bytes = &(**owner).as_ref()[range.clone()];
                cast_slice(&bytes[..self.len * size_of::<T>()])
            }
        }
    }
}

/// The bytes of items, in the machine's order.
pub fn bytes_of<T: Pod>(items: &[T]) -> &[u8] {
    cast_slice(items)
}

/// Lends a thread's memory of one kind; a nested call gets fresh memory.
pub fn lend<T: Default, Out>(
    cell: &'static LocalKey<Cell<T>>,
    body: impl FnOnce(&mut T) -> Out,
) -> Out {
    let mut item = cell.take();
    let out = body(&mut item);
    cell.set(item);
    out
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

    #[test]
    fn a_buffer_starts_at_a_line_and_keeps_what_was_written() {
        let mut buffer = Buffer::zeroed::<u8>(3);
        assert_eq!(buffer.items::<f32>(), [0.0; 16]);
        buffer.numbers::<u32>(20).fill(7);
        assert!(buffer.items::<Line>().as_ptr().is_aligned());
        assert_eq!(buffer.numbers::<u32>(17), [7; 17]);
        assert_eq!(buffer.items::<u32>().len(), 32);
    }
}
