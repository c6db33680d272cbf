//! An allocator that refuses a thread more than a gigabyte, where it was asked to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The most bytes that a guarded thread may hold.
const MOST_BYTES: usize = 1 << 30;

/// The system's allocator with a limit for threads inside [`guarded`]. A refusal ends the process:
/// that is how Rust takes it.
pub struct Limited;

#[global_allocator]
static LIMITED: Limited = Limited;

thread_local! {
    /// Bytes that this thread holds since it is guarded; `None` where it is not.
    static HELD: Cell<Option<usize>> = const { Cell::new(None) };
    /// The most it held at once.
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work` with the limit; the most bytes it held at once.
pub fn guarded(work: impl FnOnce()) -> usize {
    PEAK.set(0);
    HELD.set(Some(0));
    work();
    HELD.set(None);
    PEAK.get()
}

/// Ends the limit where a panic has left it.
pub fn unguarded() {
    HELD.set(None);
}

/// Counts bytes in; whether they may be had.
fn take(bytes: usize) -> bool {
    let Some(held) = HELD.get() else { return true };
    let now = held.saturating_add(bytes);
    if now > MOST_BYTES {
        return false;
    }
    HELD.set(Some(now));
    PEAK.set(PEAK.get().max(now));
    true
}

/// Counts bytes out; those of before the guard, or of another thread, count as nothing.
fn give(bytes: usize) {
    if let Some(held) = HELD.get() {
        HELD.set(Some(held.saturating_sub(bytes)));
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe to be")]
// SAFETY: every call goes to the system's allocator as it came, or is refused, which is allowed.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !take(size) {
            return std::ptr::null_mut();
        }
        give(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}
