//! What a million keys leave on the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use verrou::Verrou;
use verrou::drivers::MemoryStore;

/// The system's allocator, which says how much it has given out.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; it only counts"
)]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

const MEGABYTE: usize = 1 << 20;

#[test]
fn a_million_keys_leave_less_than_a_megabyte() {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new();
        let verrou = Verrou::builder().store("memory", store.clone());
        let verrou = verrou.build().unwrap();
        let lock = |number: u32| verrou.create_lock(format!("key-{number}"));
        lock(0).acquire().await.unwrap().release().await.unwrap();
        let before = IN_USE.load(Ordering::Relaxed);
        let left = || IN_USE.load(Ordering::Relaxed).saturating_sub(before);
        // One after the other, and 100 000 at a time.
        for number in 0..500_000 {
            let guard = lock(number).acquire().await.unwrap();
            guard.release().await.unwrap();
        }
        assert!(left() < MEGABYTE, "{} bytes are left", left());
        for round in 5..10 {
            let mut held = Vec::new();
            for number in round * 100_000..(round + 1) * 100_000 {
                held.push(lock(number).acquire().await.unwrap());
            }
            assert!(left() > MEGABYTE, "the allocator does not count");
            drop(held);
        }
        assert!(left() < MEGABYTE, "{} bytes are left of a peak", left());
        assert!(store.is_empty());
    });
}
