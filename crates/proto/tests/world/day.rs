//! Long spans: rekeys, keepalives, idleness, expiry.

use crate::net::{MS, Net, SECOND, Setup, TEN_YEARS};
use stadium_proto::{
    engine::{Event, PeerState},
    session::OVERHEAD,
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_day_of_rekeys_under_light_traffic() {
    let mut net = Net::pair_of(40, Setup::seeded(40).classic(), Setup::seeded(40).classic());
    net.delay(Duration::from_millis(25));
    net.connect(1, 2);
    net.talk(1, 2, Duration::from_secs(5), 17_280);
    let start = net.world.now();
    let (mut most_indices, mut longest) = (0, 0);
    while net.world.now() < start + DAY.as_nanos() as u64 {
        net.run(Duration::from_secs(600));
        most_indices = most_indices.max(net.node(1).indices()).max(net.node(2).indices());
        longest = longest.max(net.node(2).ledger.taken.len());
    }
    for (from, to) in [(1, 2), (2, 1)] {
        let balance = net.balance(from, to);
        assert_eq!(balance.made, balance.taken, "{balance:?}");
        // a rekey every 120 s after the session is made, which takes some milliseconds
        let sessions = net.node(from).sessions();
        assert!((718..=720).contains(&sessions), "{sessions}");
        let wake_ups: u64 = net.node(from).wake_ups.values().sum();
        println!("node {from}: {sessions} sessions, {wake_ups} wake-ups, {balance:?}");
        // every 10 s at most for keepalives, and a few for each session
        assert!(wake_ups < 86_400 / 5 + 720 * 10, "{wake_ups}");
    }
    assert_eq!(net.node(1).ledger.requests_out, net.node(1).sessions() as u64);
    assert_eq!(net.node(2).ledger.requests_out, 0, "only the initiator rekeys");
    assert!(most_indices <= 4, "{most_indices}");
    net.run(Duration::from_secs(600));
    assert_eq!((net.node(1).indices(), net.node(2).indices()), (0, 0));
    net.check_invariants();
}

#[test]
fn a_quiet_session_says_nothing_and_expires() {
    let mut net = Net::pair(41);
    net.delay(Duration::from_millis(25));
    net.connect(1, 2);
    let connected = net.world.now();
    for node in [1, 2] {
        net.tap(node);
    }
    net.run(Duration::from_secs(700));
    let (one, two) = (net.take_tap(1), net.take_tap(2));
    // the single packet of the start is answered by one keepalive, and makes one rekey, after
    // which nothing is said any more
    let keepalives: Vec<_> = two.iter().filter(|t| t.bytes.len() == OVERHEAD).collect();
    assert_eq!(keepalives.len(), 1);
    let after = keepalives[0].at - connected;
    assert!((9_900 * MS..10_100 * MS).contains(&after), "{after}");
    let requests: Vec<_> = one.iter().filter(|t| t.is_request()).collect();
    assert_eq!(requests.len(), 1, "one rekey");
    let last = one.iter().chain(&two).map(|t| t.at - connected).max().unwrap();
    assert!(last < 121 * SECOND, "the last datagram after {last} ns");
    for node in [1, 2] {
        assert_eq!(net.node(node).indices(), 0);
        assert_eq!(net.node(node).count_events(|e| matches!(e, Event::SessionsEnded { .. })), 1);
        assert_eq!(net.state(node, 3 - node), PeerState::Idle);
        assert_eq!(
            net.world.node(net.host(node)).engine.next_timeout(),
            None,
            "nothing to wait for"
        );
    }
}

#[test]
fn a_session_without_payload_is_not_renewed() {
    let mut net = Net::pair(42);
    net.drive(1, stadium_proto::engine::Input::Connect(net.node(1).id(2)));
    assert!(net.run_until_up(1, 2, Duration::from_secs(1)).is_some());
    net.run(Duration::from_secs(179));
    assert_eq!(net.state(1, 2), PeerState::Up);
    net.run(Duration::from_secs(2));
    assert_eq!((net.state(1, 2), net.state(2, 1)), (PeerState::Idle, PeerState::Idle));
    assert_eq!(net.node(1).ledger.requests_out, 1);
    assert_eq!(net.node(1).ledger.data_out.datagrams + net.node(2).ledger.data_out.datagrams, 2);
}

#[test]
fn a_one_way_flow_is_answered_by_keepalives_and_never_silent() {
    let mut net = Net::pair(43);
    net.delay(Duration::from_millis(25));
    net.connect(1, 2);
    net.tap(2);
    net.flow(1, 2, Duration::from_secs(1), 110);
    net.run(Duration::from_secs(110));
    let sent = net.take_tap(2);
    let gaps: Vec<u64> = sent.windows(2).map(|w| w[1].at - w[0].at).collect();
    assert!((9..=11).contains(&sent.len()), "{}", sent.len());
    assert!(gaps.iter().all(|gap| (10 * SECOND..=11 * SECOND).contains(gap)), "{gaps:?}");
    assert_eq!(net.node(1).ledger.requests_out, 1);
    assert_eq!(net.node(1).count_events(|e| matches!(e, Event::Silent { .. })), 0);
}

#[test]
fn a_heartbeat_keeps_the_session_and_measures_the_way() {
    let mut net = Net::pair(44);
    net.delay(Duration::from_millis(70));
    net.with(1, |sim, now, out| {
        sim.update_peer(now, 2, |c| c.heartbeat = Some(Duration::from_secs(20)), out);
    });
    // set at start-up it makes the first handshake by itself
    assert!(net.run_until_up(1, 2, Duration::from_secs(2)).is_some());
    net.run(Duration::from_secs(3_600));
    assert_eq!((net.state(1, 2), net.state(2, 1)), (PeerState::Up, PeerState::Up));
    let sessions = net.node(1).sessions();
    assert!((29..=31).contains(&sessions), "{sessions}");
    let rtt = net.node(1).status(net.world.now(), 2).rtt;
    assert_eq!(rtt, Some(Duration::from_millis(140)));
    assert_eq!(net.node(1).count_events(|e| matches!(e, Event::SessionsEnded { .. })), 0);
    // pings, pongs and three datagrams or so a session
    let sent = net.node(1).ledger.data_out.datagrams;
    assert!((180..=260).contains(&sent), "{sent}");
}

#[test]
fn a_handshake_that_nobody_answers_is_given_up_until_the_next_packet() {
    let mut net = Net::pair(45);
    net.world.set_link_up(net.host(2), false);
    net.flow(1, 2, Duration::from_secs(1), 30);
    net.run(Duration::from_secs(89));
    assert_eq!(net.state(1, 2), PeerState::Handshaking);
    net.run(Duration::from_secs(3));
    assert_eq!(net.state(1, 2), PeerState::Down);
    assert_eq!(net.node(1).count_events(|e| matches!(e, Event::GaveUp { .. })), 1);
    let requests = net.node(1).ledger.requests_out;
    assert!((18..=20).contains(&requests), "{requests}");
    net.run(Duration::from_secs(600));
    assert_eq!(net.node(1).ledger.requests_out, requests);
    assert_eq!(net.node(1).indices(), 0);
    net.world.set_link_up(net.host(2), true);
    net.connect(1, 2);
    assert_eq!(net.last_error(1, 2), None);
}

#[test]
fn a_session_given_up_for_silence_is_not_renewed_by_its_age() {
    let mut net = Net::pair(46);
    net.connect(1, 2);
    net.talk(1, 2, Duration::from_secs(1), 5);
    net.run(Duration::from_secs(5));
    net.world.set_link_up(net.host(2), false);
    net.send(1, 2);
    net.run(Duration::from_secs(115));
    assert_eq!(net.state(1, 2), PeerState::Down);
    let requests = net.node(1).ledger.requests_out;
    net.run(Duration::from_secs(600));
    assert_eq!(net.node(1).ledger.requests_out, requests, "only the next packet starts again");
    assert_eq!(net.node(1).indices(), 0);
}

#[test]
fn clocks_do_not_matter_to_sessions_that_live() {
    for (one, two) in [(TEN_YEARS, 0), (0, TEN_YEARS), (-TEN_YEARS, 0), (0, -TEN_YEARS)] {
        let mut net = Net::pair_of(47, Setup::seeded(47).classic(), Setup::seeded(47).classic());
        net.edit(1, |sim| sim.setup.wall += one);
        net.edit(2, |sim| sim.setup.wall += two);
        net.delay(Duration::from_millis(10));
        net.connect(1, 2);
        net.talk(1, 2, Duration::from_secs(1), 1_000);
        net.run(Duration::from_secs(250));
        // and both go back while they run
        net.edit(1, |sim| sim.setup.wall -= TEN_YEARS / 2);
        net.edit(2, |sim| sim.setup.wall -= TEN_YEARS);
        net.run(Duration::from_secs(760));
        for (from, to) in [(1, 2), (2, 1)] {
            let balance = net.balance(from, to);
            assert_eq!(balance.made, balance.taken, "{balance:?}");
        }
        assert_eq!(net.node(1).sessions(), 9);
        assert_eq!(net.node(1).ledger.requests_out, 9, "no RETRY was needed");
    }
}
