//! What wakes a simulated node: datagrams, deadlines of the engine, flows, look-ups.

use crate::{net::local_address, node::SimNode};
use stadium_netsim::world::{Node, Outbox};
use stadium_proto::{engine::Input, session::DATA};
use std::net::SocketAddr;

/// The time over which handshake datagrams count as waiting in control's queue.
const QUEUE_SPAN: u64 = 10_000_000;

impl SimNode {
    fn note_queue(&mut self, now: u64, out: &mut Outbox) {
        if !self.setup.models_queue {
            return;
        }
        if now - self.queue.0 >= QUEUE_SPAN {
            self.queue = (now, 0);
        }
        self.queue.1 += 1;
        self.drive(now, Input::QueueDepth(self.queue.1), out);
    }
}

impl Node for SimNode {
    fn handle_datagram(
        &mut self,
        now: u64,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        self.ledger.note_arrived(datagram);
        let local = Some(local_address(local));
        if datagram.first() == Some(&DATA) {
            self.receive_data(now, local, remote, datagram, out);
        } else {
            self.note_queue(now, out);
            self.drive(now, Input::Handshake { remote, local, datagram }, out);
        }
    }

    fn handle_timeout(&mut self, now: u64, out: &mut Outbox) {
        for at in 0..self.flows.len() {
            let flow = self.flows[at];
            if flow.due <= now {
                self.flows[at].due = now + flow.interval;
                self.flows[at].left -= 1;
                self.send_packet(now, flow.dest, out);
            }
        }
        self.flows.retain(|flow| flow.left > 0);
        let due: Vec<_> = self.lookups.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, number) in due {
            if self.peers.contains_key(&number) {
                let (peer, remote) = (self.id(number), self.names[&number]);
                self.drive(now, Input::Endpoint { peer, remote }, out);
            }
        }
        if let Some((_, why)) = self.engine.next_timeout().filter(|(at, _)| at.as_nanos() <= now) {
            *self.wake_ups.entry(why).or_default() += 1;
            self.drive(now, Input::Timeout, out);
        }
    }

    fn next_timeout(&self) -> Option<u64> {
        let engine = self.engine.next_timeout().map(|(at, _)| at.as_nanos());
        let flows = self.flows.iter().map(|flow| flow.due);
        let lookups = self.lookups.iter().map(|(at, _)| *at);
        engine.into_iter().chain(flows).chain(lookups).min()
    }
}
