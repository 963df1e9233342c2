//! What the other side answered to handshakes, and what it could not open.

use stadium_node::api::LastError;

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let told = facts.peers.iter().filter(|peer| !facts.is_up(peer)).filter_map(|peer| {
        let error = facts.status_of(peer)?.last_error?;
        Some(of(error)?.about(&peer.label))
    });
    told.collect()
}

/// The finding that an error amounts to; those that only say "nothing came" are for others.
fn of(error: LastError) -> Option<Finding> {
    let (code, what, remedy) = match error {
        LastError::UnsupportedVersion => (
            finding::VERSION_MISMATCH,
            "the other side says that it does not speak this version of the protocol",
            "run the same release on both sides; the answer is not authenticated, so somebody on \
             the way may also have made it up",
        ),
        LastError::CannotDecrypt => (
            finding::WRONG_KEY,
            "the other side says that it cannot open the request: it has another private key than \
             the `public_key` here says",
            "compare that key with `stadium pubkey` of its private key",
        ),
        LastError::NoCommonHash | LastError::NoCommonCipher => (
            finding::CIPHER_MISMATCH,
            "the `ciphers` of the two sides have nothing in common",
            "give both sides one cipher in common, or leave `ciphers` out",
        ),
        LastError::UnknownPeer => (
            finding::UNKNOWN_AT_PEER,
            "the other side has no peer with this node's public key",
            "add this node there: its key is the `public_key` of `stadium status`",
        ),
        LastError::NoiseRefused => (
            finding::NOISE_REFUSED,
            "the `noise` that this side asks for is not what the other side accepts",
            "give both sides the same `noise` section, or widen `noise.accept` or lower \
             `noise.minimum` of one",
        ),
        LastError::Busy => (
            finding::PEER_BUSY,
            "the other side is under load and has no room for another session now",
            "wait: it goes on trying",
        ),
        LastError::PostQuantumRequired => (
            finding::POST_QUANTUM_MISMATCH,
            "the other side has `post_quantum: require`, this one does not offer it",
            "set `post_quantum` to prefer here",
        ),
        LastError::KeyMismatch => (
            finding::WRONG_PSK,
            "the answer cannot be opened: the preshared keys differ, or only one side has one",
            "give both sides the same `preshared_key`, from one `stadium genpsk`",
        ),
        LastError::NoAnswer | LastError::NameDoesNotResolve | LastError::NetworkUnreachable => {
            return None;
        }
    };
    Some(Finding::problem(code, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_code_and_success_has_none() {
        let cases = [
            (LastError::UnknownPeer, finding::UNKNOWN_AT_PEER),
            (LastError::KeyMismatch, finding::WRONG_PSK),
            (LastError::NoiseRefused, finding::NOISE_REFUSED),
            (LastError::NoCommonCipher, finding::CIPHER_MISMATCH),
            (LastError::UnsupportedVersion, finding::VERSION_MISMATCH),
            (LastError::PostQuantumRequired, finding::POST_QUANTUM_MISMATCH),
        ];
        for (error, code) in cases {
            let found = check(&Facts::failing(Some(error)));
            assert_eq!(found.iter().map(|f| f.code).collect::<Vec<_>>(), [code]);
            assert_eq!(found[0].peer.as_deref(), Some("bob"));
        }
        assert!(check(&Facts::failing(Some(LastError::NoAnswer))).is_empty());
        assert!(check(&Facts::healthy()).is_empty());
    }
}
