//! The kernel's own listing is compared with what we print; skipped where no namespace can be had.

use std::process::Command;

use super::*;

fn filter(lan: bool) -> Filter {
    Filter {
        interface: "stadium0".to_owned(),
        kill_switch: Some(KillSwitch {
            mark: 0xca9f,
            lan,
            addresses: vec!["10.7.0.2".parse().unwrap(), "fd07::2".parse().unwrap()],
            inside: vec!["10.7.0.0/24".parse().unwrap(), "fd07::/64".parse().unwrap()],
            dns: vec!["192.168.5.1".parse().unwrap()],
        }),
        mark: Some(0xca9f),
        clamp: Some(1420),
    }
}

/// What nft lists, one rule a line as `CHAIN RULE`, counters without their counts.
fn listed(table: &str) -> Vec<String> {
    let output = Command::new("nft").args(["-n", "list", "table", "inet", table]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut chain = "";
    let mut rules = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ") {
            chain = name.trim_end_matches(" {");
        } else if !chain.is_empty() && !line.is_empty() && line != "}" && !line.starts_with("type ")
        {
            rules.push(format!("{chain} {}", line.replace(" packets 0 bytes 0", "")));
        }
    }
    rules
}

/// Words that nft leaves out or writes otherwise, although they are there.
fn normal(rule: &str) -> String {
    let mut rule = rule.to_owned();
    for (from, to) in [
        ("meta nfproto ipv4 ", ""),
        ("meta nfproto ipv6 ", ""),
        ("meta nfproto 2 ", ""),
        ("meta nfproto 10 ", ""),
        ("meta l4proto udp udp ", "udp "),
        ("meta l4proto tcp tcp ", "tcp "),
        ("meta l4proto ipv6-icmp ", "meta l4proto 58 "),
        ("meta l4proto 58 icmpv6 ", "icmpv6 "),
        ("meta l4proto udp th ", "udp "),
        ("meta l4proto tcp th ", "tcp "),
        ("meta l4proto udp", "meta l4proto 17"),
        ("meta l4proto tcp", "meta l4proto 6"),
        ("meta l4proto 17 udp ", "udp "),
        ("meta l4proto 6 tcp ", "tcp "),
        ("meta l4proto 17 th ", "udp "),
        ("meta l4proto 6 th ", "tcp "),
        ("udp sport 68 th dport", "udp sport 68 udp dport"),
        ("udp sport 546 th dport", "udp sport 546 udp dport"),
        ("tcp flags syn / syn,rst", "tcp flags & (syn | rst) == syn"),
        ("tcp flags 0x2 / 0x2,0x4", "tcp flags & (syn | rst) == syn"),
        ("tcp flags & (0x2 | 0x4) == 0x2", "tcp flags & (syn | rst) == syn"),
        ("tcp flags 0x2 / 0x6", "tcp flags & (syn | rst) == syn"),
        ("fib saddr type != 2", "fib saddr type != local"),
        ("icmpx 3", "icmpx admin-prohibited"),
        ("icmpx type admin-prohibited", "icmpx admin-prohibited"),
    ] {
        rule = rule.replace(from, to);
    }
    rule
}

fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let has_nft = Command::new("nft").arg("--version").output().is_ok();
    let thread = std::thread::spawn(move || {
        // Deprecated for file tables only, which stay shared here.
        #[allow(deprecated)]
        let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET);
        match unshared {
            Ok(()) if has_nft => test(),
            Ok(()) => println!("skipped: nft is not installed"),
            Err(errno) => println!("skipped: no network namespace can be made here: {errno}"),
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_kernel_understands_every_rule_as_we_print_it() {
    in_namespace(|| {
        assert!(is_available());
        assert_eq!(has_table("stadium0"), Some(false));
        for filter in [filter(false), filter(true)] {
            // the second time in place of what stands
            set(&filter).unwrap();
            assert_eq!(has_table("stadium0"), Some(true));
            let found: Vec<String> =
                listed("stadium-stadium0").iter().map(|rule| normal(rule)).collect();
            let text = filter.to_string();
            let meant: Vec<String> =
                text.lines().skip(1).map(|line| normal(line.trim_start())).collect();
            assert_eq!(found, meant);
        }
        remove("stadium0").unwrap();
        assert_eq!(has_table("stadium0"), Some(false));
        assert_eq!(remove("stadium0"), Err(super::super::error::Errno::NOENT));
    });
}

#[test]
fn tables_of_others_are_left_alone() {
    in_namespace(|| {
        let nft = |arguments: &[&str]| {
            assert!(Command::new("nft").args(arguments).status().unwrap().success());
        };
        nft(&["add", "table", "inet", "stadium"]);
        nft(&["add", "table", "inet", "stadium-stadium1"]);
        set(&filter(false)).unwrap();
        remove("stadium0").unwrap();
        let output = Command::new("nft").args(["list", "tables"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "table inet stadium\ntable inet stadium-stadium1\n");
    });
}

#[test]
fn only_private_parts_of_the_tunnel_are_kept_out_of_private_ranges() {
    let prefixes = ["0.0.0.0/0", "10.7.0.0/24", "203.0.113.0/24", "10.7.0.9/32", "fd07::/64"];
    let inside = KillSwitch::inside(prefixes.map(|p| p.parse().unwrap()));
    let wanted = ["10.7.0.0/24", "fd07::/64"];
    assert_eq!(inside, wanted.map(|p| p.parse::<IpNet>().unwrap()));
}

#[test]
fn names_of_tables_are_names_to_nft() {
    assert_eq!(table_name("stadium0"), "stadium-stadium0");
    assert_eq!(table_name("a+b=c.d"), "stadium-a.plus.b.eq.c.d");
}

#[test]
fn without_lan_no_private_range_is_let_out() {
    let text = filter(false).to_string();
    assert!(!text.contains("192.168"), "{text}");
    let text = filter(true).to_string();
    let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle}: {text}"));
    assert!(at("daddr 10.7.0.0/24") < at("daddr 10.0.0.0/8 accept"), "the tunnel's own first");
    assert!(at("dport 53 counter reject") < at("daddr 192.168.0.0/16 accept"), "DNS first");
}
