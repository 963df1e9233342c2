//! Control frames (`protocol.md` §6): what decodes is what the oracle takes and means the same; what
//! is encoded decodes.

use stadium_proto::frame::{CONTROL, CONTROL_MAX, CloseReason, Control};

use crate::cbor::{self, Item, Limits};

/// The limits of control maps.
const LIMITS: Limits = Limits { entries: 16, items_min: 0, items_max: 16 };

/// Checks one input: the map behind the frame's first byte, and filler.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let frame = [&[CONTROL], data].concat();
    let got = Control::decode(&frame).ok();
    let want = oracle(data);
    assert_eq!(got, want);
    let Some(control) = got else { return };
    let mut buffer = [0; CONTROL_MAX];
    let len = control.encode(&mut buffer);
    if control == Control::Unknown {
        assert_eq!(len, 0);
        return;
    }
    assert_eq!(Control::decode(&buffer[..len]), Ok(control));
    // filler changes nothing
    assert_eq!(Control::decode(&[&buffer[..len], data].concat()), Ok(control));
    let (entries, used) = cbor::read_map(&buffer[1..len], LIMITS).expect("it is deterministic");
    assert_eq!((cbor::write_map(&entries), used), (buffer[1..len].to_vec(), len - 1));
}

fn oracle(data: &[u8]) -> Option<Control> {
    let (entries, _) = cbor::read_map(data, LIMITS)?;
    let uint = |wanted: u64| {
        entries.iter().find_map(|(key, item)| match item {
            Item::Uint(value) if *key == wanted => Some(*value),
            _ => None,
        })
    };
    Some(match uint(0)? {
        1 => Control::Ping { id: uint(1)? },
        2 => Control::Pong { id: uint(1)? },
        3 => Control::Close { reason: CloseReason(uint(1).unwrap_or(0)) },
        4 => Control::Ticket { ticket: u32::try_from(uint(1)?).ok()?, lifetime_s: uint(2)? },
        _ => Control::Unknown,
    })
}
