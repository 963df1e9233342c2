//! What strangers can cause: floods, junk, amplification.

use crate::net::{MS, Net, SECOND, Setup, outer, peer, secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use stadium_netsim::dice::Dice;
use stadium_proto::{drop::DropReason, identity::Identity};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The key of a node's macs, which everybody can make who knows its public key.
pub(crate) fn mac_key(node: u16, encrypted: bool) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("StadiumP/1 mac");
    if encrypted {
        hash.update(Identity::new(secret(node)).public().as_bytes());
    }
    hash.finalize().into()
}

/// Makes a REQUEST of junk with a mac that verifies.
pub(crate) fn junk_request(dice: &mut Dice, flag: u8, length: usize, key: &[u8; 32]) -> Vec<u8> {
    let mut request = vec![0; length.max(62)];
    dice.fill(&mut request);
    request[..8].copy_from_slice(b"StadiumP");
    request[8] = flag;
    set_mac(&mut request, key);
    request
}

/// Writes the mac that verifies without a cookie.
pub(crate) fn set_mac(request: &mut [u8], key: &[u8; 32]) {
    let (text, mac) = request.split_last_chunk_mut::<16>().unwrap();
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    hmac.update(text);
    mac.copy_from_slice(&hmac.finalize().into_bytes()[..16]);
}

pub(crate) fn stranger(dice: &mut Dice) -> SocketAddr {
    // a network of its own, so that no node is spoofed
    let address = Ipv4Addr::from_bits(0x6440_0000 | dice.below(1 << 22) as u32);
    SocketAddr::new(address.into(), dice.between(1_024, 65_535) as u16)
}

#[test]
fn a_flood_with_valid_macs_keeps_nobody_out() {
    const RATE: u64 = 10_000;
    const CLIENTS: u16 = 40;
    let server = Setup { models_queue: true, ..Setup::seeded(90) };
    let mut net = Net::new(90);
    net.add(server);
    for _ in 0..CLIENTS {
        let client = net.add(Setup::seeded(90));
        net.introduce(client, peer(1, Some(outer(1))));
        net.introduce(1, peer(client, None));
    }
    net.delay(Duration::from_millis(20));
    let key = mac_key(1, true);
    let mut dice = Dice::new(90);
    let (mut flood, mut started) = (0, vec![None; usize::from(CLIENTS) + 2]);
    let start = net.world.now();
    let mut times = Vec::new();
    for tick in 0..5_000_u64 {
        // 10,000 a second for five seconds
        net.world.run_until(start + tick * MS);
        for _ in 0..RATE / 1_000 {
            let from = stranger(&mut dice);
            let length = dice.between(236, 300) as usize;
            let request = junk_request(&mut dice, 0x7a, length, &key);
            flood += request.len() as u64;
            net.world.inject(from, outer(1), &request);
        }
        if tick % 100 == 0 && (2..CLIENTS + 2).contains(&((tick / 100) as u16)) {
            let client = (tick / 100) as u16;
            started[usize::from(client)] = Some(net.world.now());
            net.send(client, 1);
        }
        let now = net.world.now();
        for client in 2..CLIENTS + 2 {
            if let Some(at) = started[usize::from(client)]
                && net.node(client).is_up(now, 1)
            {
                started[usize::from(client)] = None;
                times.push((now - at) / MS);
            }
        }
    }
    times.sort_unstable();
    let server = net.node(1);
    let out = server.ledger.handshake_out.bytes as f64 / flood as f64;
    println!(
        "{} legitimate handshakes: median {} ms, slowest {} ms; {out:.3} of the flood goes back",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1],
    );
    assert_eq!(times.len(), usize::from(CLIENTS));
    assert!(times[times.len() - 1] <= 2_000);
    assert!(out <= 0.35, "{out}");
    // in the first moments the queue is short, and the first few are opened, in vain
    assert!(server.drops(DropReason::BadTag) < 200, "{}", server.drops(DropReason::BadTag));
    assert!(server.drops(DropReason::RateLimited) > 49_000);
    assert!(server.indices() <= usize::from(CLIENTS) * 2);
    net.check_invariants();
}

#[test]
fn without_load_one_source_gets_five_tries_and_then_needs_a_cookie() {
    let mut net = Net::pair(91);
    let key = mac_key(2, true);
    let mut dice = Dice::new(91);
    let from = stranger(&mut dice);
    for _ in 0..100 {
        let request = junk_request(&mut dice, 0x7a, 250, &key);
        net.world.inject(from, outer(2), &request);
    }
    net.run(Duration::from_secs(1));
    let node = net.node(2);
    assert_eq!((node.drops(DropReason::BadTag), node.drops(DropReason::RateLimited)), (5, 95));
    // five clear ERRORs of 24 bytes and 95 RETRYs of 76
    assert_eq!(node.ledger.handshake_out.bytes, 5 * 24 + 95 * 76);
    // another source is not concerned
    net.connect(1, 2);
}

#[test]
fn junk_and_bad_macs_get_nothing_at_all() {
    let mut net = Net::pair(92);
    net.connect(1, 2);
    net.run(Duration::from_secs(1));
    let before = (net.node(2).ledger.handshake_out, net.node(2).ledger.data_out);
    let mut dice = Dice::new(92);
    for length in 0..2_000_usize {
        let mut junk = vec![0; length];
        for first in [0x53, 0x01, 0x02, 0x03, 0x04, 0x05, 0xff] {
            dice.fill(&mut junk);
            if let Some(byte) = junk.first_mut() {
                *byte = first;
            }
            if first == 0x53 && length >= 8 {
                junk[..8].copy_from_slice(b"StadiumP");
            }
            net.world.inject(outer(1), outer(2), &junk);
        }
        net.run(Duration::from_micros(10));
    }
    net.run(Duration::from_secs(1));
    let after = (net.node(2).ledger.handshake_out, net.node(2).ledger.data_out);
    assert_eq!(before, after, "not a byte");
    let dropped: u64 = DropReason::ALL.iter().map(|reason| net.node(2).drops(*reason)).sum();
    assert_eq!(dropped, 14_000, "each is counted once");
    net.connect(1, 2);
    net.check_invariants();
}

#[test]
fn cookies_belong_to_a_source() {
    let server = Setup { models_queue: true, ..Setup::seeded(93) };
    let mut net = Net::pair_of(93, Setup::seeded(93), server);
    net.delay(Duration::from_millis(20));
    let key = mac_key(2, true);
    let mut dice = Dice::new(93);
    net.tap(1);
    for _ in 0..70 {
        // from then on the node is loaded for a second
        let from = stranger(&mut dice);
        let request = junk_request(&mut dice, 0x7a, 250, &key);
        net.world.inject(from, outer(2), &request);
    }
    net.run(Duration::from_millis(10));
    net.send(1, 2);
    net.run(Duration::from_millis(75));
    let with_cookie = net.take_tap(1).into_iter().rfind(|t| t.is_request()).unwrap();
    assert_eq!(net.node(1).ledger.requests_out, 2, "one without a cookie and one with");
    // the REQUEST with the cookie arrives first from elsewhere
    let before = net.node(2).drops(DropReason::RateLimited) + net.node(2).drops(DropReason::BadMac);
    net.world.inject(stranger(&mut Dice::new(1)), outer(2), &with_cookie.bytes);
    net.run(Duration::from_millis(11));
    let after = net.node(2).drops(DropReason::RateLimited) + net.node(2).drops(DropReason::BadMac);
    assert_eq!(after - before, 1);
    assert!(net.run_until_up(1, 2, Duration::from_secs(1)).is_some());
}

#[test]
fn an_engine_forgets_strangers() {
    let mut net = Net::pair(94);
    let key = mac_key(2, true);
    let mut dice = Dice::new(94);
    for second in 0..300 {
        for _ in 0..50 {
            let from = stranger(&mut dice);
            let request = junk_request(&mut dice, 0x7a, 250, &key);
            net.world.inject(from, outer(2), &request);
        }
        net.world.run_until((second + 2) * SECOND);
    }
    assert_eq!(net.node(2).indices(), 0);
    assert_eq!(net.node(2).engine.next_timeout(), None, "they leave no deadline either");
}
