//! Memory of the host that stays where it is: the card reads and writes it by itself.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ptr::null_mut;

use cudarc::driver::sys;

use super::Address;
use super::calls::ok;
use crate::error::Result;

/// Bytes of a part of [`Staging`], and how many there are: a part is filled while the others are copied.
const PART: usize = 2 << 20;
const PARTS: usize = 8;

/// Such memory; the context that took it must be the thread's when it is dropped.
pub(super) struct Pinned {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: memory that this value alone owns.
unsafe impl Send for Pinned {}

impl Pinned {
    pub fn take(card: &str, bytes: usize) -> Result<Self> {
        let mut start = null_mut();
        // SAFETY: the pointer is to be written. Such memory has the same address on the card and on the host, and
        // nothing in it is anything but bytes.
        unsafe {
            let flags = sys::CU_MEMHOSTALLOC_DEVICEMAP | sys::CU_MEMHOSTALLOC_PORTABLE;
            let taken = sys::cuMemHostAlloc(&mut start, bytes, flags);
            ok(card, &format!("{bytes} bytes of the host's memory"), taken)?;
            start.cast::<u8>().write_bytes(0, bytes);
        }
        let start = start.cast();
        Ok(Self { start, bytes })
    }

    pub fn address(&self) -> Address {
        self.start.addr() as Address
    }

    /// `len` bytes at an address, if they are in here.
    pub fn part(&mut self, at: Address, len: usize) -> Option<&mut [u8]> {
        let offset = usize::try_from(at.checked_sub(self.address())?).ok()?;
        let end = offset.checked_add(len)?;
        // SAFETY: `bytes` bytes from `start` on are this value's own, and were written once.
        let all = unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) };
        all.get_mut(offset..end)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: it came from `cuMemHostAlloc`, and nobody else has it.
        let _ = unsafe { sys::cuMemFreeHost(self.start.cast()) };
    }
}

/// Memory that copies to the card go through: whoever copies need not wait until the card has come that far.
pub(super) struct Staging {
    card: String,
    memory: Pinned,
    /// When the last copy from each part has ended.
    copied: [sys::CUevent; PARTS],
    next: usize,
}

// SAFETY: the driver's handles may be used by any thread.
unsafe impl Send for Staging {}

impl Staging {
    pub fn new(card: &str) -> Result<Self> {
        let mut copied = [null_mut(); PARTS];
        for event in &mut copied {
            let quick = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
            // SAFETY: the pointer is to be written.
            ok(card, "an event", unsafe {
                sys::cuEventCreate(event, quick)
            })?;
        }
        Ok(Self {
            card: card.to_owned(),
            memory: Pinned::take(card, PARTS * PART)?,
            copied,
            next: 0,
        })
    }

    /// Queues a copy of what `fill` puts together, piece by piece.
    pub fn copy(
        &mut self,
        to: Address,
        bytes: usize,
        fill: &mut dyn FnMut(usize, &mut [u8]),
        stream: sys::CUstream,
    ) -> Result<()> {
        for at in (0..bytes).step_by(PART) {
            let (part, event) = (self.next * PART, self.copied[self.next]);
            let len = PART.min(bytes - at);
            self.next = (self.next + 1) % PARTS;
            // SAFETY: the event lives as long as `self`; one that was never recorded has happened.
            let free = unsafe { sys::cuEventSynchronize(event) };
            ok(&self.card, "its work", free)?;
            let from = self.memory.address() + part as Address;
            if let Some(piece) = self.memory.part(from, len) {
                fill(at, piece);
            }
            // SAFETY: what is copied is not written again before the event behind the copy.
            let (copied, recorded) = unsafe {
                let from = self.memory.start.add(part).cast();
                let copied = sys::cuMemcpyHtoDAsync_v2(to + at as Address, from, len, stream);
                (copied, sys::cuEventRecord(event, stream))
            };
            ok(&self.card, "a copy to it", copied)?;
            ok(&self.card, "an event", recorded)?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for event in self.copied {
            // SAFETY: the events are this value's own; the driver keeps one until it has happened.
            let _ = unsafe { sys::cuEventDestroy_v2(event) };
        }
    }
}
