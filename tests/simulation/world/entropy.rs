//! All randomness that asks the operating system: answered from the seed of the thread that asks.
//!
//! `HashMap` draws its keys, tokio the order of `select!`, and openraft its election timeouts from the system's
//! `getrandom`. This binary defines that function itself, and the linker prefers it to the C library's. A history runs
//! in a thread and a process of its own, so that nothing else draws from its numbers.
//!
//! Elsewhere than on Linux the symbol has another name: [`seed`] notices that nothing was replaced and panics.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn next() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Stands in for the C library's function of this name.
///
/// # Safety
/// `buffer` points to `len` bytes that may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, len: usize, _flags: u32) -> isize {
    // SAFETY: the caller's promise.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, len) };
    for chunk in buffer.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
    len as isize
}

/// Seeds what the calling thread draws from now on.
///
/// # Panics
/// When the standard library does not draw from here: a run would not be repeatable, and must not look as if it were.
pub fn seed(seed: u64) {
    let drawn = || {
        let draw = move || {
            STATE.set(seed);
            RandomState::new().hash_one(0)
        };
        std::thread::spawn(draw).join().expect("hashing does not panic")
    };
    assert_eq!(drawn(), drawn(), "the standard library's randomness could not be replaced on this system");
    STATE.set(seed);
}

#[test]
fn hash_maps_of_a_seed_are_in_the_same_order() {
    let order = |with: u64| {
        let names = move || {
            seed(with);
            let map: std::collections::HashMap<u64, ()> = (0..50).map(|number| (number, ())).collect();
            map.into_keys().collect::<Vec<_>>()
        };
        std::thread::spawn(names).join().unwrap()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}
