//! What a process has on its heap, counted where it is asked for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator; it counts only in the processes that hold many locks, so that it costs the others nothing.
struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static IN_USE: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; it only counts"
)]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(bytes: isize) {
    if ON.load(Ordering::Relaxed) {
        IN_USE.fetch_add(bytes as i64, Ordering::Relaxed);
    }
}

/// Begins to count.
pub(crate) fn watch() {
    ON.store(true, Ordering::Relaxed);
}

/// The bytes in use, more than when it began.
pub(crate) fn in_use() -> i64 {
    IN_USE.load(Ordering::Relaxed)
}
