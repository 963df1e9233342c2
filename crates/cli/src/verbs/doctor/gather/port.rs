//! Who has a UDP port.

use std::fs;
use std::io;
use std::net::SocketAddr;

use super::super::facts::Taken;

/// Tries to bind each address; lists those that somebody else has.
pub(super) fn taken(addresses: &[SocketAddr]) -> Vec<Taken> {
    let fixed = addresses.iter().filter(|address| address.port() != 0);
    let in_use = fixed.filter(|address| {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(**address),
            socket2::Type::DGRAM,
            None,
        );
        let bound = socket.and_then(|socket| {
            if address.is_ipv6() {
                // as the daemon does: else the IPv4 side would count twice
                socket.set_only_v6(true)?;
            }
            socket.bind(&(**address).into())
        });
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    });
    in_use.map(|address| Taken { address: *address, holder: holder(address.port()) }).collect()
}

/// Names the process with a socket on `port`, where it can be seen.
fn holder(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["udp", "udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok())
        .flat_map(|table| inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        // beside numbers there is `self`, which is one of them
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let has = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()));
        if has {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inodes of sockets on `port`, from a table of `/proc/net`.
fn inodes(table: &str, port: u16) -> Vec<u64> {
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| {
            let local = words.get(1).and_then(|local| local.rsplit(':').next());
            local.and_then(|port| u16::from_str_radix(port, 16).ok()) == Some(port)
        })
        .filter_map(|words| words.get(9)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_this_process_has_is_found_with_its_name() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = taken(&[address, "127.0.0.1:0".parse().unwrap()]);
        assert_eq!(found.len(), 1);
        let holder = found[0].holder.as_ref().unwrap();
        assert!(holder.contains(&format!("(pid {})", std::process::id())), "{holder}");
        drop(socket);
        assert!(taken(&[address]).is_empty());
    }
}
