//! Proof that reading and writing allocate nothing once the buffers exist.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers are not marked as tests

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};

use stadium_tun::{Device, Options, ReadBatch};

#[allow(dead_code)]
#[path = "namespaces/support.rs"]
mod support;

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
    support::in_namespace(|| {
        let (here, there) = (Ipv4Addr::new(10, 203, 7, 1), Ipv4Addr::new(10, 203, 7, 2));
        let device = Device::create(&Options::named("stun0")).unwrap();
        support::set_address("stun0", here).unwrap();
        device.set_up().unwrap();
        let queue = &device.queues()[0];
        let socket = UdpSocket::bind((here, 0)).unwrap();
        let local = (here, socket.local_addr().unwrap().port());
        let packet = support::udp_packet((there, 9), local, &[7; 500]);
        let mut batch = ReadBatch::new(16);

        assert_ne!(COUNT.get(), 0, "the counter counts");
        let before = COUNT.get();
        for _ in 0..200 {
            socket.send_to(&[1; 500], (there, 9)).unwrap();
            batch.fill(queue).unwrap();
            assert!(batch.superpackets().any(|read| read.packet.ends_with(&[1; 500])));
            let (header, payload) = packet.split_at(28);
            let vnet = stadium_packet::vnet::VnetHdr::PLAIN;
            queue.write(&vnet, header, payload.chunks(100)).unwrap();
            assert_eq!(socket.recv(&mut [0; 600]).unwrap(), 500);
        }
        assert_eq!(COUNT.get() - before, 0);
    });
}
