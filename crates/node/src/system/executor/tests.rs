//! In a network namespace of their own; skipped, with a line, where none can be made.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::super::operation::{Route, TABLE_MAIN};
use super::super::spec::InterfaceSpec;
use super::super::state::ProcessId;
use super::super::watch::{NetworkEvent, NetworkEvents, watch};
use super::*;

/// Runs a test on a thread in a fresh network namespace, with `lo` up and a TUN-like link.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // Deprecated for file tables only, which stay shared here.
        #[allow(deprecated)]
        let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET);
        if let Err(errno) = unshared {
            println!("skipped: no network namespace can be made here: {errno}");
            return;
        }
        ip("link set lo up");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes an outer interface with an address, a default route and a far end that is up.
fn outer() {
    ip("link add eth0 type veth peer name far0");
    // Without link-local addresses, which come late and change.
    ip("link set eth0 mtu 1500 addrgenmode none up");
    ip("link set far0 addrgenmode none up");
    ip("address add 192.168.5.7/24 dev eth0");
    ip("route add default via 192.168.5.1");
}

/// A device that stands for our TUN: persistent, so that only these tests decide when it goes.
fn tun(name: &str) -> u32 {
    ip(&format!("tuntap add dev {name} mode tun"));
    let text = ip(&format!("-o link show {name}"));
    text.split(':').next().unwrap().trim().parse().unwrap()
}

/// What `ip` shows, apart from numbers that only grow.
fn snapshot() -> String {
    [
        "link show",
        "-4 address show",
        "-6 address show",
        "-4 route show table all",
        "-6 route show table all",
        "-4 rule",
        "-6 rule",
    ]
    .map(ip)
    .concat()
    .lines()
    .filter(|line| !line.contains("preferred_lft"))
    // Coming up for the first time, a link gets its queueing discipline for good.
    .map(|line| line.replace("qdisc noop ", "qdisc pfifo_fast "))
    .collect::<Vec<_>>()
    .join("\n")
}

fn state_path(test: &str) -> PathBuf {
    std::env::temp_dir()
        .join(format!("stadium-system-{}", std::process::id()))
        .join(format!("{test}.state"))
}

fn spec(index: u32, addresses: &[&str], allowed: &[&str]) -> InterfaceSpec {
    let parse = |list: &[&str]| list.iter().map(|p| p.parse().unwrap()).collect();
    InterfaceSpec {
        index,
        addresses: parse(addresses),
        allowed_ips: parse(allowed),
        ..InterfaceSpec::new("stadium0", 1400)
    }
}

#[test]
fn comes_up_and_goes_down_without_a_trace() {
    in_namespace(|| async {
        outer();
        let index = tun("stadium0");
        let before = snapshot();
        let system = System::connect().unwrap();
        let (mut state, cleared) =
            system.claim(&state_path("up"), "stadium0", false).await.unwrap();
        assert_eq!(cleared, Vec::<String>::new());
        let spec = spec(
            index,
            &["10.7.0.1/24", "fd07::1/64"],
            &["10.7.0.0/24", "10.8.0.0/16", "fd08::/48", "0.0.0.0/0", "::/0"],
        );
        let plan = Plan::new(&spec, &system.facts().await.unwrap(), None).unwrap();
        let applied = system.apply(plan, &mut state).await.unwrap();

        let link = system.link("stadium0").await.unwrap().unwrap();
        assert_eq!((link.mtu, link.up, link.link.index), (1400, true, index));
        let v6 = ip("-6 address show dev stadium0");
        assert!(v6.contains("fd07::1/64") && !v6.contains("tentative"), "{v6}");
        let main = ip("route show dev stadium0");
        assert!(main.contains("10.8.0.0/16 proto 151 scope link"), "{main}");
        assert!(main.contains("10.7.0.0/24 proto kernel"), "{main}");
        assert!(ip("-6 route show dev stadium0").contains("fd08::/48 proto 151"));
        let table = ip("route show table 51871");
        assert!(table.contains("default dev stadium0 proto 151 scope link"), "{table}");
        assert!(table.contains("unreachable default proto 151 metric 4294967295"), "{table}");
        assert!(ip("-6 rule").contains("not from all fwmark 0xca9f lookup 51871 proto 151"));
        // What is marked goes outside, the rest inside, the LAN directly.
        assert!(ip("route get 203.0.113.1").contains("dev stadium0"));
        assert!(ip("route get 203.0.113.1 mark 51871").contains("dev eth0"));
        assert!(ip("route get 192.168.5.99").contains("dev eth0"));
        assert_eq!(system.missing(applied.plan()).await.unwrap(), []);

        // The same prefix by another hand, in the place of ours, is noticed and put right.
        ip("route del 10.8.0.0/16 dev stadium0");
        ip("-6 rule del priority 32765");
        let repaired = system.repair(&applied).await.unwrap();
        assert_eq!(repaired.len(), 2, "{repaired:?}");
        assert_eq!(system.missing(applied.plan()).await.unwrap(), []);

        assert_eq!(system.take_down(applied, &mut state).await, []);
        assert_eq!(state.state().undo, []);
        state.remove().unwrap();
        // The kernel gave the link a link-local address of its own when it came up and took it
        // when it went down.
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn a_failure_is_rolled_back() {
    in_namespace(|| async {
        outer();
        let index = tun("stadium0");
        let system = System::connect().unwrap();
        let (mut state, _) =
            system.claim(&state_path("rollback"), "stadium0", false).await.unwrap();
        let spec = spec(index, &["10.7.0.1/24"], &["10.8.0.0/16", "10.9.0.0/16", "0.0.0.0/0"]);
        let plan = Plan::new(&spec, &system.facts().await.unwrap(), None).unwrap();
        // Somebody takes the prefix between planning and doing.
        ip("route add 10.9.0.0/16 dev eth0");
        let before = snapshot();
        let error = system.apply(plan, &mut state).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists);
        assert!(
            error
                .message
                .starts_with("cannot add route 10.9.0.0/16 dev stadium0 table main: File exists"),
            "{error}"
        );
        assert_eq!(snapshot(), before);
        assert_eq!(state.state().undo, []);

        let error = Plan::new(&spec, &system.facts().await.unwrap(), None).unwrap_err();
        assert!(error.message.contains("dev eth0 has it"), "{error}");
        state.remove().unwrap();
    });
}

#[test]
fn a_reload_touches_only_what_changed() {
    in_namespace(|| async {
        outer();
        let index = tun("stadium0");
        let before = snapshot();
        let system = System::connect().unwrap();
        let (mut state, _) = system.claim(&state_path("reload"), "stadium0", false).await.unwrap();
        let old = spec(index, &["10.7.0.1/24", "fd07::1/64"], &["10.8.0.0/16", "10.9.0.0/16"]);
        let plan = Plan::new(&old, &system.facts().await.unwrap(), None).unwrap();
        let mut applied = system.apply(plan, &mut state).await.unwrap();

        // Another prefix length of the same IPv6 address, a moved IPv4 address, a default route.
        let mut new = spec(
            index,
            &["10.7.0.2/24", "fd07::1/48"],
            &["10.8.0.0/16", "10.7.0.0/16", "0.0.0.0/0"],
        );
        new.mtu = 1380;
        let facts = system.facts().await.unwrap();
        let plan = Plan::new(&new, &facts, Some(applied.plan())).unwrap();
        let executed = system.reconcile(&mut applied, plan, &mut state).await.unwrap();
        let words: Vec<String> = executed.iter().map(ToString::to_string).collect();
        assert!(!words.iter().any(|w| w.contains("10.8.0.0/16")), "{words:?}");
        for expected in [
            "set stadium0 mtu 1380",
            "add address 10.7.0.2/24 dev stadium0",
            "remove address 10.7.0.1/24 dev stadium0",
            "remove address fd07::1/64 dev stadium0",
            "add address fd07::1/48 dev stadium0",
            "remove route 10.9.0.0/16 dev stadium0 table main",
            "add route 0.0.0.0/0 dev stadium0 table 51871",
        ] {
            assert!(words.iter().any(|w| w == expected), "{expected} is not in {words:?}");
        }
        assert_eq!(system.missing(applied.plan()).await.unwrap(), []);
        assert_eq!(state.state().undo.len(), 7, "two unreachable routes, four rules, a filter");

        // A reload that cannot be done leaves the former state.
        let standing = snapshot();
        let bad = spec(index, &["10.7.0.2/24", "fd07::1/48"], &["10.8.0.0/16", "10.66.0.0/16"]);
        let facts = system.facts().await.unwrap();
        let plan = Plan::new(&bad, &facts, Some(applied.plan())).unwrap();
        ip("route add 10.66.0.0/16 dev eth0");
        let error = system.reconcile(&mut applied, plan, &mut state).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists);
        ip("route del 10.66.0.0/16 dev eth0");
        assert_eq!(snapshot(), standing);
        assert_eq!(state.state().undo.len(), 7);

        // And back to where it began.
        let plan = Plan::new(&old, &system.facts().await.unwrap(), Some(applied.plan())).unwrap();
        system.reconcile(&mut applied, plan, &mut state).await.unwrap();
        assert_eq!(state.state().undo, []);
        assert_eq!(system.missing(applied.plan()).await.unwrap(), []);
        assert!(!ip("rule").contains("151"));
        system.take_down(applied, &mut state).await;
        assert_eq!(snapshot(), before);
        state.remove().unwrap();
    });
}

#[test]
fn what_a_killed_daemon_left_is_cleared_and_a_living_one_is_left_alone() {
    in_namespace(|| async {
        outer();
        let before = snapshot();
        let index = tun("stadium0");
        let system = System::connect().unwrap();
        let path = state_path("killed");
        let socket = path.with_extension("sock");
        let (mut state, _) = system.claim(&path, "stadium0", false).await.unwrap();
        state.add_file(&socket).unwrap();
        std::fs::write(&socket, "").unwrap();
        let spec = spec(index, &["10.7.0.1/24"], &["10.8.0.0/16", "0.0.0.0/0"]);
        let plan = Plan::new(&spec, &system.facts().await.unwrap(), None).unwrap();
        system.apply(plan, &mut state).await.unwrap();

        let error = system.claim(&path, "stadium0", false).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Running);
        let pid = std::process::id();
        assert_eq!(system.clear_leftovers(&path).await.unwrap(), Leftovers::Running { pid });

        // A kill takes the interface with it, and nothing else.
        ip("link del stadium0");
        let dead = ProcessId { start_time: 1, ..ProcessId::own() };
        let text = std::fs::read_to_string(&path).unwrap();
        let own = format!("\"start_time\": {}", ProcessId::own().start_time);
        assert!(text.contains(&own));
        let text = text.replace(&own, &format!("\"start_time\": {}", dead.start_time));
        std::fs::write(&path, text).unwrap();
        assert!(
            ip("route show table 51871").contains("unreachable default"),
            "until it is cleared, nothing leaks"
        );
        let refused = Command::new("ip").args(["route", "get", "203.0.113.1"]).output().unwrap();
        assert!(!refused.status.success(), "the kill switch holds without the daemon");

        let Leftovers::Cleared(lines) = system.clear_leftovers(&path).await.unwrap() else {
            panic!("it was killed");
        };
        assert_eq!(lines.len(), 8, "{lines:?}");
        assert!(!socket.exists() && !path.exists());
        assert_eq!(snapshot(), before);
        assert_eq!(system.clear_leftovers(&path).await.unwrap(), Leftovers::Nothing);
    });
}

#[test]
fn names_that_exist_are_refused() {
    in_namespace(|| async {
        tun("stadium0");
        let system = System::connect().unwrap();
        let error = system.ensure_name_is_free("stadium0").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists);
        assert!(error.to_string().contains("an interface stadium0 exists already"), "{error}");
        system.ensure_name_is_free("stadium1").await.unwrap();
    });
}

#[test]
fn path_mtu_is_the_routes_or_the_links() {
    in_namespace(|| async {
        outer();
        ip("route add 198.51.100.0/24 via 192.168.5.1 mtu 1300");
        ip("address add 2001:db8::7/64 dev eth0 nodad");
        let system = System::connect().unwrap();
        let mtu = |address: &str| {
            let (system, address) = (system.clone(), address.parse().unwrap());
            async move { system.path_mtu(address, None).await }
        };
        assert_eq!(mtu("203.0.113.1").await, Some(1500));
        assert_eq!(mtu("::ffff:203.0.113.1").await, Some(1500));
        assert_eq!(mtu("198.51.100.1").await, Some(1300));
        assert_eq!(mtu("127.0.0.1").await, Some(65536));
        assert_eq!(mtu("2001:db8::9").await, Some(1500));
        assert_eq!(mtu("2001:db8:1::9").await, None, "there is no way");
        let endpoints =
            [Some("203.0.113.1".parse().unwrap()), Some("198.51.100.1".parse().unwrap()), None];
        // 1300 - 60 is below the floor.
        assert_eq!(system.auto_mtu(&endpoints, Some(5)).await, 1280);
        assert_eq!(system.auto_mtu(&endpoints[..1], Some(5)).await, 1440);
        assert_eq!(system.auto_mtu(&endpoints[2..], Some(5)).await, 1420);
        assert_eq!(system.auto_mtu(&[], None).await, 1420);
    });
}

#[test]
fn an_interface_that_is_gone_or_elsewhere_comes_down_quietly() {
    in_namespace(|| async {
        outer();
        let before = snapshot();
        let index = tun("stadium0");
        let system = System::connect().unwrap();
        let (mut state, _) = system.claim(&state_path("moved"), "stadium0", false).await.unwrap();
        let spec = spec(index, &["10.7.0.1/24", "fd07::1/64"], &["10.8.0.0/16", "0.0.0.0/0"]);
        let plan = Plan::new(&spec, &system.facts().await.unwrap(), None).unwrap();
        let mut applied = system.apply(plan, &mut state).await.unwrap();
        let mut events = watch().unwrap();
        // A process in another namespace to move it to.
        let mut other = Command::new("unshare").args(["-n", "sleep", "30"]).spawn().unwrap();
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let there = format!("/proc/{}/ns/net", other.id());
        for _ in 0..200 {
            if std::fs::read_link(&there).is_ok_and(|ns| ns != own)
                && std::fs::read_to_string(format!("/proc/{}/comm", other.id()))
                    .is_ok_and(|comm| comm.trim() == "sleep")
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        ip(&format!("link set stadium0 netns {}", other.id()));
        let removed = wait_for(&mut events, |e| matches!(e, NetworkEvent::LinkRemoved(_))).await;
        let NetworkEvent::LinkRemoved(link) = removed else { unreachable!() };
        assert_eq!(
            (link.link.name.as_str(), link.link.index, link.moved),
            ("stadium0", index, true)
        );

        assert_eq!(system.link_by_index(index).await.unwrap(), None);
        assert_eq!(system.repair(&applied).await.unwrap(), [], "nothing to repair here");
        // A reload still works; what it wants of the interface is the operator's over there.
        let spec = self::spec(index, &["10.7.0.1/24"], &["10.9.0.0/16"]);
        let facts = system.facts().await.unwrap();
        let plan = Plan::new(&spec, &facts, Some(applied.plan())).unwrap();
        let executed = system.reconcile(&mut applied, plan, &mut state).await.unwrap();
        assert_eq!(executed.len(), 7, "rules, unreachable routes and the filter go: {executed:?}");
        assert_eq!(system.take_down(applied, &mut state).await, []);
        state.remove().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(snapshot(), before);
    });
}

async fn wait_for(
    events: &mut NetworkEvents,
    wanted: impl Fn(&NetworkEvent) -> bool,
) -> NetworkEvent {
    let search = async {
        loop {
            let event = events.next().await.expect("the stream goes on");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), search).await.expect("the event comes")
}

#[test]
fn changes_are_told() {
    in_namespace(|| async {
        let mut events = watch().unwrap();
        outer();
        ip("rule add priority 9 table 77");
        let link = wait_for(
            &mut events,
            |e| matches!(e, NetworkEvent::LinkChanged(l) if l.link.name == "eth0" && l.up),
        );
        link.await;
        let address: ipnet::IpNet = "192.168.5.7/24".parse().unwrap();
        wait_for(&mut events, |e| {
            matches!(e, NetworkEvent::AddressChanged { address: a, added: true, .. } if *a == address)
        })
        .await;
        wait_for(&mut events, |e| {
            matches!(
                e,
                NetworkEvent::RouteChanged { destination, table: TABLE_MAIN, added: true, ours: false, .. }
                if destination.prefix_len() == 0
            )
        })
        .await;
        wait_for(&mut events, |e| {
            matches!(e, NetworkEvent::RuleChanged { family: Family::V4, added: true, ours: false })
        })
        .await;
        ip("link del eth0");
        wait_for(
            &mut events,
            |e| matches!(e, NetworkEvent::LinkRemoved(l) if l.link.name == "eth0" && !l.moved),
        )
        .await;
    });
}

#[test]
fn lost_events_are_told() {
    in_namespace(|| async {
        let mut events = watch().unwrap();
        let index = tun("stadium0");
        let system = System::connect().unwrap();
        ip("link set stadium0 up");
        // More than the queue holds, while nobody reads it.
        let routes: Vec<Operation> = (0..600).map(|n| add_route(index, n)).collect();
        for operation in &routes {
            system.execute(operation).await.unwrap();
        }
        let mut told = 0;
        while told < 256 {
            assert_ne!(events.next().await, Some(NetworkEvent::Lost), "the queue held {told}");
            told += 1;
        }
        system.execute(&routes[0].inverse().unwrap()).await.unwrap();
        wait_for(&mut events, |e| *e == NetworkEvent::Lost).await;
    });
}

fn add_route(index: u32, number: u16) -> Operation {
    let [high, low] = number.to_be_bytes();
    Operation::AddRoute(Route {
        destination: ipnet::Ipv4Net::new(Ipv4Addr::new(10, high, low, 0), 24).unwrap().into(),
        target: Target::Device(Link { name: "stadium0".into(), index }),
        table: TABLE_MAIN,
        metric: 0,
    })
}

#[test]
fn many_routes_come_and_go_fast() {
    in_namespace(|| async {
        let index = tun("stadium0");
        let system = System::connect().unwrap();
        let (mut state, _) = system.claim(&state_path("many"), "stadium0", false).await.unwrap();
        let mut spec = spec(index, &["10.255.0.1/32"], &[]);
        spec.allowed_ips = (0..10_000)
            .map(|n: u16| {
                let [high, low] = n.to_be_bytes();
                ipnet::Ipv4Net::new(Ipv4Addr::new(10, high, low, 0), 24).unwrap().into()
            })
            .collect();
        let begun = std::time::Instant::now();
        let plan = Plan::new(&spec, &system.facts().await.unwrap(), None).unwrap();
        let mut applied = system.apply(plan, &mut state).await.unwrap();
        let up = begun.elapsed();
        // A reload of one change among many.
        spec.allowed_ips.pop();
        let begun = std::time::Instant::now();
        let facts = system.facts().await.unwrap();
        let plan = Plan::new(&spec, &facts, Some(applied.plan())).unwrap();
        let executed = system.reconcile(&mut applied, plan, &mut state).await.unwrap();
        let reload = begun.elapsed();
        assert_eq!(executed.len(), 1, "{executed:?}");
        system.take_down(applied, &mut state).await;
        state.remove().unwrap();
        println!("10,000 routes: up {up:?}, reload {reload:?}");
        assert!(up < Duration::from_secs(5));
        assert!(!ip("route").contains("stadium0"));
    });
}

#[test]
fn unprivileged_changes_say_what_is_missing() {
    let error = explain(
        &Operation::SetMtu { link: Link { name: "stadium0".into(), index: 1 }, mtu: 1400 },
        Errno::PERM,
    );
    assert_eq!(
        error.to_string(),
        "cannot set stadium0 mtu 1400: Operation not permitted; this needs CAP_NET_ADMIN: run as \
         root or with sudo"
    );
}
