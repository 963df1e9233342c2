//! Machines for tests, in the library's text form.

use crate::noise::Machines;

/// Does nothing.
pub(crate) fn idle() -> &'static str {
    "02eNr7+x8KGNABI7oAAF2WCPc="
}

/// Pads 1 to 20 ms after a packet went or came, and then on with a chance of 3/4.
pub(crate) fn tail() -> &'static str {
    "02eNptjFEKACAIQ6cHqx3Nz/46XBdKyyCiBzLH2IAX9RMRwOr1JGE37FzaBvElq6IujAUrJ5oyyAY2"
}

/// Pads every 2 ms from the first packet on, for ever, and sets itself no limit.
pub(crate) fn greedy() -> &'static str {
    "02eNply8EJADAIA8Cki9XRukknLRVRBPU+IYG8H9AtD5LA2TlbdXKl5NS+CkQjDLw="
}

/// Blocks for 5 ms from a packet on, and meanwhile lets one through every 2 ms, or pads.
pub(crate) fn gate() -> &'static str {
    "02eNqNjcENABAUQ1sG80dztIUhzCcEX4SIeJeXNGmbiwIln4EdIgl4N1PQEJ+EJJtvkGbNs581JMrmR7FXdKECm/IaMw=="
}

/// Blocks for an hour from the first packet on.
pub(crate) fn wall() -> &'static str {
    "02eNqNyMEJACAMBMG7NCb2ZAGp0TLsIejDCJJHyHwW1raDszjkhiSg7V1QUKNjrv41dQBThRiU"
}

/// Parses machines.
pub(crate) fn machines(texts: &[&str]) -> Machines {
    Machines::parse(&texts.join("\n")).expect("they are valid")
}
