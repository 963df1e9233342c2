//! What the caller may do.

use std::fs;

use super::super::facts::Permission;

/// The number of `CAP_NET_ADMIN`.
const NET_ADMIN: u32 = 12;

/// Looks at the caller's capabilities and the TUN device.
pub(super) fn look() -> Permission {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let tun = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    Permission { net_admin: has(&status, NET_ADMIN), tun: tun.err().map(|error| error.to_string()) }
}

/// Reads a capability from the line `CapEff`.
fn has(status: &str, capability: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    set.is_some_and(|set| set >> capability & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_bits_of_a_hexadecimal_number() {
        assert!(has("CapPrm:\t0\nCapEff:\t0000000000001000\n", NET_ADMIN));
        assert!(!has("CapEff:\t0000000000000fff\n", NET_ADMIN));
        assert!(!has("", NET_ADMIN));
    }
}
