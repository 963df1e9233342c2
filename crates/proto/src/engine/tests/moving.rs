//! Peers with several addresses, and a node whose own address changes.

use super::{Outbox, add, address, at, deliver, engine, identity, peer_config};
use crate::{
    engine::{Engine, Input, Now, Settings},
    peer::{Endpoint, LocalAddress, PeerId},
};
use core::net::IpAddr;

/// Two engines that have each other as peers; only the first knows where the second is.
struct Pair {
    a: Engine,
    b: Engine,
    from_a: Outbox,
    from_b: Outbox,
    id: PeerId,
}

impl Pair {
    fn new() -> Self {
        let mut a = engine(1, Settings::default(), None);
        let mut b = engine(2, Settings::default(), None);
        let (mut from_a, mut from_b) = (Outbox::default(), Outbox::default());
        let config = peer_config(*identity(2).public(), Some(address(2)));
        let id = add(&mut a, config, at(0), &mut from_a);
        add(&mut b, peer_config(*identity(1).public(), None), at(0), &mut from_b);
        Self { a, b, from_a, from_b, id }
    }

    fn settle(&mut self, now: Now) {
        while !self.from_a.sent.is_empty() || !self.from_b.sent.is_empty() {
            deliver(&mut self.from_a, 1, &mut self.b, now, &mut self.from_b);
            deliver(&mut self.from_b, 2, &mut self.a, now, &mut self.from_a);
        }
    }

    fn endpoint(&self) -> Endpoint {
        self.a.cell(self.id).unwrap().endpoint().unwrap()
    }

    fn session(&self, now: Now) -> u64 {
        self.a.peer_status(self.id, now.instant).unwrap().session.unwrap().id
    }
}

#[test]
fn of_several_addresses_the_one_that_answered_is_kept() {
    let mut p = Pair::new();
    p.a.handle(at(0), Input::Wanted(p.id), &mut p.from_a);
    let first = core::mem::take(&mut p.from_a.sent);
    assert_eq!(first[0].0.remote, address(2));
    // while the answer is under way the next address is set
    p.a.handle(at(1), Input::NextAddress { peer: p.id, remote: address(3) }, &mut p.from_a);
    assert!(p.from_a.sent.is_empty(), "no REQUEST is hurried");
    let now = Now { instant: p.a.next_timeout().unwrap().0, ..at(1_200) };
    p.a.handle(now, Input::Timeout, &mut p.from_a);
    assert_eq!(p.from_a.sent[0].0.remote, address(3), "the next REQUEST goes there");
    p.from_a.sent = first;
    deliver(&mut p.from_a, 1, &mut p.b, now, &mut p.from_b);
    deliver(&mut p.from_b, 2, &mut p.a, now, &mut p.from_a);
    assert_eq!(p.endpoint().remote, address(2), "the answer was to the first");
    assert!(p.from_a.sent.iter().all(|(to, _)| to.remote == address(2)));
    p.settle(now);
    p.session(now);
}

#[test]
fn another_way_to_a_peer_makes_a_handshake_at_once_and_keeps_the_session_till_then() {
    let mut p = Pair::new();
    p.a.handle(at(0), Input::PathChanged(p.id), &mut p.from_a);
    assert!(p.from_a.sent.is_empty(), "no session, none wanted");
    p.a.handle(at(0), Input::Wanted(p.id), &mut p.from_a);
    p.settle(at(0));
    let before = p.session(at(0));
    p.a.handle(at(5_000), Input::PathChanged(p.id), &mut p.from_a);
    assert!(p.from_a.sent[0].1.starts_with(b"StadiumP"));
    assert_eq!(p.session(at(5_000)), before, "it goes on");
    assert!(p.a.cell(p.id).unwrap().tx_session().is_some());
    // again and again: the schedule is brought forward once, not outrun
    for ms in 0..900 {
        p.a.handle(at(5_000 + ms), Input::PathChanged(p.id), &mut p.from_a);
        p.a.handle(at(5_000 + ms), Input::Timeout, &mut p.from_a);
    }
    assert_eq!(p.from_a.sent.len(), 1);
    p.settle(at(5_900));
    assert_ne!(p.session(at(5_900)), before, "indices of the old network are not seen again");
}

#[test]
fn answers_follow_to_the_own_address_that_the_peer_speaks_to() {
    let mut p = Pair::new();
    p.a.handle(at(0), Input::Wanted(p.id), &mut p.from_a);
    p.settle(at(0));
    let local = |last: u8| LocalAddress { ip: IpAddr::from([198, 51, 100, last]), interface: 3 };
    let cell = std::sync::Arc::clone(p.a.cell(p.id).unwrap());
    let remote = address(2);
    cell.set_endpoint(Some(Endpoint { remote, local: Some(local(1)) }));
    let index = p.a.peer(p.id).unwrap().current.as_ref().unwrap().index;
    let steps = [(1, 9, false, 1), (2, 9, true, 9), (3, 9, true, 9), (4, 1, true, 1)];
    for (second, own, highest, wanted) in steps {
        let local_ip = Some(local(own).ip);
        let told = cell.notices_move(remote, local_ip, at(1_000 * second).instant);
        assert_eq!(told, p.endpoint().local != Some(local(own)));
        let notice = crate::engine::OpenedNotice {
            index,
            remote,
            local: Some(local(own)),
            highest,
            first: false,
            control: &[],
        };
        p.a.handle(at(1_000 * second), Input::Opened(notice), &mut p.from_a);
        assert_eq!(p.endpoint(), Endpoint { remote, local: Some(local(wanted)) });
    }
    assert!(p.from_a.sent.is_empty(), "no path is to be checked: the peer is where it was");
}
