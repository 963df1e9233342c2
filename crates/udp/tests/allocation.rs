//! Proof that sending and receiving allocate nothing once the batches exist.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of functions marked as such

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use stadium_udp::{OnFull, Options, Path, RxBatch, Socket, TxBatch};

/// The system's allocator, counting what the current thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every method hands its arguments on unchanged; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_steady_state_allocates_nothing() {
    let options = Options { recv_buffer: Some(4 << 20), ..Options::default() };
    let from = Socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let to = Socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let mut tx = TxBatch::new(256 * 1024, 64);
    let mut rx = RxBatch::new(16);
    let path = Path::to(to.local_addr());

    let mut round = |from: &Socket| {
        for n in 0..100 {
            let mut space = tx.reserve(if n % 10 == 9 { 300 } else { 1000 }).unwrap();
            space.fill(n);
            space.commit(&path, 0);
        }
        let mut failures = 0;
        let sent = tx.flush_with(from, OnFull::Drop, |_| failures += 1).unwrap();
        assert_eq!((sent.datagrams, failures), (100, 0));
        let mut received = 0;
        while rx.recv(&to).unwrap() > 0 {
            let (messages, slab) = rx.split();
            for datagram in messages.iter().flat_map(|message| message.datagrams()) {
                received += usize::from(!slab[datagram].is_empty());
            }
        }
        assert_eq!(received, 100);
        from.send_one(&path, 0, &[1; 100]).unwrap();
        assert_eq!(rx.recv(&to).unwrap(), 1);
    };
    assert_ne!(COUNT.get(), 0, "the counter counts");
    round(&from);
    let before = COUNT.get();
    for _ in 0..100 {
        round(&from);
    }
    assert_eq!(COUNT.get() - before, 0);
    // nor without offload, nor while it is given up
    from.caps().disable_gso();
    for _ in 0..100 {
        round(&from);
    }
    assert_eq!(COUNT.get() - before, 0);
}
