//! Packets that go along with a REQUEST, before there is a session (`protocol.md` §6).
//!
//! Invariants: a packet that went along is kept until it is known what became of it; the same
//! packets, no more and no fewer, follow every REQUEST until then.

use std::collections::VecDeque;

use stadium_packet::checksum::Checksum;
use stadium_packet::ip::IpView;
use stadium_packet::segment::Segments;
use stadium_packet::vnet::VnetHdr;
use stadium_proto::early::{EarlyTx, FRAMES};
use stadium_proto::peer::Waiting;
use stadium_proto::session::{HEADER, OVERHEAD};
use stadium_proto::time::Instant;

/// The packets of one peer that went ahead of their session, or were about to.
#[derive(Debug, Default)]
pub(crate) struct EarlyPackets {
    /// Whole packets with full checksums, in their order.
    packets: VecDeque<Box<[u8]>>,
    /// How many of them went along, from the front.
    sent: usize,
}

impl EarlyPackets {
    /// Seals what follows a REQUEST and hands each datagram to `send`; what has waited for a
    /// session is taken out of `waiting` for it.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        waiting: &Waiting,
        tx: &EarlyTx,
        mut send: impl FnMut(&[u8]),
    ) -> usize {
        let frames = usize::try_from(FRAMES).unwrap_or(usize::MAX);
        let again = self.sent > 0;
        while !again && self.packets.len() < frames {
            let Some(packet) = waiting.pop() else { break };
            self.cut(&packet);
        }
        let count = if again { self.sent } else { self.packets.len().min(frames) };
        let mut datagram = Vec::new();
        self.sent = 0;
        for packet in self.packets.iter().take(count) {
            datagram.clear();
            datagram.resize(OVERHEAD + packet.len(), 0);
            datagram[HEADER..HEADER + packet.len()].copy_from_slice(packet);
            // one that is too long waits for the session, and those behind it with it
            if tx.seal_next(now, &mut datagram).is_err() {
                break;
            }
            send(&datagram);
            self.sent += 1;
        }
        self.sent
    }

    /// Learns that the packets that went along were taken; returns how many packets and bytes.
    pub(crate) fn accepted(&mut self) -> (u64, u64) {
        let taken = self.packets.drain(..std::mem::take(&mut self.sent));
        taken.fold((0, 0), |(packets, bytes), packet| (packets + 1, bytes + packet.len() as u64))
    }

    /// Learns that they were not: they go with the rest.
    pub(crate) fn refused(&mut self) {
        self.sent = 0;
    }

    /// Takes the next packet that a session has to carry: whole, without offload.
    ///
    /// What went along and was not answered yet stays.
    pub(crate) fn take_rest(&mut self) -> Option<Box<[u8]>> {
        self.packets.remove(self.sent)
    }

    /// Forgets everything, and returns how many packets there were.
    pub(crate) fn clear(&mut self) -> u64 {
        let count = self.packets.len() as u64;
        *self = Self::default();
        count
    }

    /// Cuts a superpacket that has waited into packets.
    fn cut(&mut self, waiting: &[u8]) {
        let Some((header, packet)) = waiting.split_first_chunk::<{ VnetHdr::LEN }>() else {
            return;
        };
        let (Ok(vnet), Ok(ip)) = (VnetHdr::decode(header), IpView::parse(packet)) else { return };
        let Ok(segments) = Segments::new(vnet, ip, Checksum::Full) else { return };
        for index in 0..segments.count() {
            let mut whole = vec![0; segments.segment_len(index)];
            segments.write(index, &mut whole);
            self.packets.push_back(whole.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stadium_proto::crypto::{Cipher, HashAlg, Secret};
    use stadium_proto::handshake::EarlySecret;

    const NOW: Instant = Instant::from_nanos(1);

    fn tx() -> EarlyTx {
        let secret =
            EarlySecret::new(Secret::new([7; 32]), HashAlg::Sha256, Cipher::Aes256Gcm, 1_280);
        EarlyTx::new(9, &secret, &[1; 32], NOW)
    }

    /// A UDP packet of `len` bytes, as it waits.
    fn packet(n: u8, len: usize) -> Box<[u8]> {
        let mut packet = vec![n; len];
        packet[..20].fill(0);
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        packet[8..10].copy_from_slice(&[64, 17]);
        packet[12..20].copy_from_slice(&[10, 7, 0, 1, 10, 7, 0, 2]);
        [&VnetHdr::PLAIN.encode()[..], &packet].concat().into()
    }

    fn waiting(packets: impl IntoIterator<Item = Box<[u8]>>) -> Waiting {
        let waiting = Waiting::default();
        packets.into_iter().for_each(|packet| assert_eq!(waiting.push(packet), 0));
        waiting
    }

    #[test]
    fn the_same_packets_follow_every_request() {
        let mut early = EarlyPackets::default();
        let ring = waiting((0..3).map(|n| packet(n, 100)));
        assert_eq!(early.send(NOW, &ring, &tx(), |_| {}), 3);
        assert_eq!(ring.push(packet(3, 100)), 0);
        let mut lengths = Vec::new();
        assert_eq!(early.send(NOW, &ring, &tx(), |d| lengths.push(d.len())), 3);
        assert_eq!(lengths, [100 + OVERHEAD; 3]);
        assert_eq!(early.take_rest(), None, "nobody knows yet what became of them");
        assert_eq!(early.accepted(), (3, 300));
        assert!(ring.pop().is_some(), "the fourth waits for the session");
    }

    #[test]
    fn what_is_refused_goes_with_the_session_in_its_order() {
        let mut early = EarlyPackets::default();
        let ring = waiting((0..20).map(|n| packet(n, 50)));
        assert_eq!(early.send(NOW, &ring, &tx(), |_| {}), 16, "no more go along");
        early.refused();
        let rest: Vec<u8> = core::iter::from_fn(|| early.take_rest()).map(|p| p[49]).collect();
        assert_eq!(rest, (0..16).collect::<Vec<u8>>());
        assert_eq!(early.clear(), 0);
    }

    #[test]
    fn a_packet_beyond_the_limit_waits_and_holds_back_those_behind_it() {
        let mut early = EarlyPackets::default();
        let ring = waiting([packet(0, 100), packet(1, 1_281), packet(2, 100)]);
        assert_eq!(early.send(NOW, &ring, &tx(), |_| {}), 1);
        assert_eq!(early.take_rest().map(|p| p.len()), Some(1_281));
        assert_eq!(early.accepted(), (1, 100));
        assert_eq!(early.clear(), 1);
    }

    #[test]
    fn a_superpacket_is_cut_and_its_end_goes_with_the_session() {
        let mut early = EarlyPackets::default();
        let payload = 20 * 500;
        let mut whole = packet(5, 28 + payload).into_vec();
        let vnet = VnetHdr {
            flags: stadium_packet::vnet::NEEDS_CSUM,
            gso: stadium_packet::vnet::Gso::UdpL4,
            hdr_len: 28,
            ecn: false,
            gso_size: 500,
            csum_start: 20,
            csum_offset: 6,
        };
        whole[..VnetHdr::LEN].copy_from_slice(&vnet.encode());
        let udp = VnetHdr::LEN + 20;
        let length = u16::try_from(8 + payload).unwrap().to_be_bytes();
        whole[udp + 4..udp + 6].copy_from_slice(&length);
        let ring = waiting([whole.into()]);
        let mut lengths = Vec::new();
        assert_eq!(early.send(NOW, &ring, &tx(), |d| lengths.push(d.len())), 16);
        assert_eq!(lengths, [528 + OVERHEAD; 16]);
        assert_eq!(early.accepted(), (16, 16 * 528));
        assert_eq!(early.clear(), 4);
    }
}
