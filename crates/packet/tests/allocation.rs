//! Proof that the data path allocates nothing once the coalescer stands.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, fail by panicking")]

mod support;

use stadium_packet::checksum::Checksum;
use stadium_packet::coalesce::{Coalescer, Merge, Run};
use stadium_packet::ip::IpView;
use stadium_packet::segment::Segments;
use support::{Spec, make_partial, vnet_of};

#[test]
fn cutting_and_joining_allocate_nothing() {
    let kinds = [(false, false), (true, false), (false, true), (true, true)];
    let superpackets: Vec<_> = kinds
        .map(|(v6, udp)| {
            let spec = Spec::new(v6, udp).with_payload(40_000, 1);
            let mut packet = spec.build();
            make_partial(&mut packet);
            (vnet_of(&spec, 1200), packet)
        })
        .into();
    let mut slab = vec![0; 400_000];
    let mut coalescer = Coalescer::new(Merge { tcp: true, udp: true });
    let mut cut = 0;
    let mut joined = 0;
    let mut runs = 0;
    let mut pass = || {
        for checksum in [Checksum::Full, Checksum::Partial] {
            let mut sink = |run: Run<'_>| {
                joined += run.packets();
                runs += 1;
            };
            let mut end = 0;
            for (vnet, packet) in &superpackets {
                let ip = IpView::parse(packet).unwrap();
                let segments = Segments::new(*vnet, ip, checksum).unwrap();
                for index in 0..segments.count() {
                    let start = end;
                    end += segments.write(index, &mut slab[start..]);
                    let ip = IpView::parse(&slab[start..end]).unwrap();
                    let kind = segments.checksum();
                    coalescer.push(&slab, start, ip, kind, &mut sink).unwrap();
                    cut += 1;
                }
            }
            coalescer.flush(&slab, &mut sink);
        }
    };
    let counted = allocation_counter::measure(&mut pass);
    assert_eq!(counted.count_total, 0);
    assert_eq!((cut, joined, runs), (4 * 2 * 34, 4 * 2 * 34, 4 * 2));
    // the measure itself works
    assert_ne!(allocation_counter::measure(|| drop(std::hint::black_box(vec![1]))).count_total, 0);
}
