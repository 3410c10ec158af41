//! Costs that can be counted; those that must be timed are in `benches/costs.rs`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use verrou::{Error, key, locked};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u32> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: all is done by `System`.
#[expect(unsafe_code, reason = "an allocator that counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_key_of_two_arguments_is_one_allocation() -> Result<(), Error> {
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let before = ALLOCATIONS.get();
    let key = key!("transfer:<from>:<to>", from = uuid, to = u64::MAX)?;
    assert_eq!(ALLOCATIONS.get() - before, 1, "{key}");
    // It counts.
    let before = ALLOCATIONS.get();
    drop(key.clone());
    assert_eq!(ALLOCATIONS.get() - before, 1);
    Ok(())
}

#[test]
fn the_future_is_at_most_1_3_times_the_plain_one() {
    macro_rules! function {
        ($(#[$attribute:meta])? $name:ident) => {
            $(#[$attribute])?
            async fn $name(argument: [u8; 256]) -> Result<usize, Error> {
                let buffer = [argument[0]; 1024];
                std::future::ready(()).await;
                Ok(buffer.len() + argument.len())
            }
        };
    }
    function!(plain);
    function!(
        #[locked("t")]
        attribute
    );
    let (plain, locked) = (
        size_of_val(&plain([0; 256])),
        size_of_val(&attribute([0; 256])),
    );
    assert!(
        plain >= 1280 && locked * 10 <= plain * 13,
        "{locked} bytes for {plain}"
    );
}
