//! Timings of the inner loops, for people: `cargo test --release -p stadium-packet --test speed --
//! --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, fail by panicking")]

mod support;

use std::hint::black_box;
use std::time::Instant;

use stadium_packet::checksum::{Checksum, Sum};
use stadium_packet::coalesce::{Coalescer, Merge, Run};
use stadium_packet::ip::IpView;
use stadium_packet::segment::Segments;
use support::{Spec, make_partial, vnet_of};

/// Times one call of `work` in nanoseconds: the best of twenty rounds, so that a busy machine
/// disturbs little.
fn nanoseconds(calls: u32, mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..calls {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    best
}

#[test]
#[ignore = "a timing, for release builds on a quiet machine"]
fn inner_loops() {
    let bytes = vec![0xa5u8; 1400];
    let mut copy = vec![0u8; 1400];
    for len in [20, 64, 128, 576, 1400] {
        let time = nanoseconds(20_000, || {
            black_box(Sum::of(black_box(&bytes[..len])).checksum());
        });
        println!("sum of {len} bytes: {time:.1} ns");
        if len == 1400 && !cfg!(debug_assertions) {
            assert!(time < 60.0, "a sum of 1,400 bytes takes {time:.1} ns");
        }
    }
    let time = nanoseconds(20_000, || {
        black_box(Sum::copy(black_box(&bytes), black_box(&mut copy)));
    });
    println!("copy and sum of 1400 bytes: {time:.1} ns");
    let time = nanoseconds(20_000, || copy.copy_from_slice(black_box(&bytes)));
    println!("copy of 1400 bytes: {time:.1} ns");

    for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        let spec = Spec::new(v6, udp).with_payload(46 * 1368, 1);
        let mut packet = spec.build();
        make_partial(&mut packet);
        let vnet = vnet_of(&spec, 1368);
        let mut slab = vec![0; 100_000];
        let mut coalescer = Coalescer::new(Merge { tcp: true, udp: true });
        for checksum in [Checksum::Full, Checksum::Partial] {
            let mut ranges = vec![];
            let time = nanoseconds(500, || {
                let ip = IpView::parse(black_box(&packet)).unwrap();
                let segments = Segments::new(vnet, ip, checksum).unwrap();
                let mut end = 0;
                ranges.clear();
                for index in 0..segments.count() {
                    let start = end;
                    end += segments.write(index, &mut slab[start..]);
                    ranges.push(start..end);
                    end += 32;
                }
            });
            println!("v6 {v6}, UDP {udp}, {checksum:?}: cut {:.1} ns a segment", time / 46.0);
            let mut runs = 0;
            let time = nanoseconds(500, || {
                let mut sink = |run: Run<'_>| {
                    black_box(run.spans);
                    runs += 1;
                };
                for range in &ranges {
                    let ip = IpView::parse(black_box(&slab[range.clone()])).unwrap();
                    coalescer.push(&slab, range.start, ip, checksum, &mut sink).unwrap();
                }
                coalescer.flush(&slab, &mut sink);
            });
            assert_eq!(runs, 20 * 500);
            println!("v6 {v6}, UDP {udp}, {checksum:?}: join {:.1} ns a packet", time / 46.0);
        }
    }
}
