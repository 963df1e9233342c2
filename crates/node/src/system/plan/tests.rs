use stadium_config::{HookTrust, Switch};

use super::super::dns::Resolver;
use super::super::facts::{AddressFact, LinkFact, RuleFact};
use super::*;

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|p| p.parse().unwrap()).collect()
}

/// A machine with one outer interface, as a router's customer has it.
fn facts() -> Facts {
    let link = |name: &str, index| LinkFact {
        link: Link { name: name.into(), index },
        mtu: 1500,
        up: true,
        moved: false,
    };
    let route = |destination: &str, metric, protocol| RouteFact {
        destination: destination.parse().unwrap(),
        index: Some(2),
        unreachable: false,
        table: TABLE_MAIN,
        metric,
        ours: false,
        protocol,
    };
    let rule = |family, priority| RuleFact {
        family,
        priority,
        table: TABLE_MAIN,
        mark: None,
        invert: false,
        suppress_prefix_length: None,
        ours: false,
    };
    Facts {
        links: vec![link("lo", 1), link("eth0", 2)],
        addresses: vec![AddressFact { index: 2, address: "192.168.5.7/24".parse().unwrap() }],
        routes: vec![
            route("0.0.0.0/0", 0, 16),
            route("192.168.5.0/24", 0, 2),
            route("10.9.0.0/16", 0, 4),
            route("2001:db8:5::/64", 256, 2),
        ],
        rules: Family::BOTH.into_iter().flat_map(|f| [rule(f, 0), rule(f, 32766)]).collect(),
        ipv6: true,
        without_ipv6: Vec::new(),
        strict_reverse_path: false,
        marks_honoured: false,
        nftables: true,
        resolver: Resolver::File,
    }
}

fn spec(addresses: &[&str], allowed: &[&str]) -> InterfaceSpec {
    InterfaceSpec {
        addresses: nets(addresses),
        allowed_ips: nets(allowed),
        ..InterfaceSpec::new("stadium0", 1420)
    }
}

#[test]
fn two_hosts() {
    let spec = spec(
        &["10.7.0.1/24", "fd07::1/64"],
        &["10.7.0.0/24", "10.7.0.2/32", "fd07::/64", "fd07::2/128", "172.16.5.9/24"],
    );
    let plan = Plan::new(&spec, &facts(), None).unwrap();
    assert_eq!(
        plan.to_string(),
        "create interface stadium0\n\
         set stadium0 mtu 1420\n\
         add address 10.7.0.1/24 dev stadium0\n\
         add address fd07::1/64 dev stadium0\n\
         set stadium0 up\n\
         add route 10.7.0.2/32 dev stadium0 table main\n\
         add route fd07::2/128 dev stadium0 table main\n\
         add route 172.16.5.0/24 dev stadium0 table main\n"
    );
    assert_eq!((plan.fwmark, plan.warnings), (None, Vec::new()));
}

#[test]
fn a_default_route_gets_policy_routing_and_a_kill_switch() {
    let spec = spec(&["10.7.0.1/32"], &["0.0.0.0/0"]);
    let plan = Plan::new(&spec, &facts(), None).unwrap();
    let text = plan.to_string();
    let (filter, rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("  ") || line.contains("nftables"));
    assert_eq!(
        rest.join("\n") + "\n",
        "mark own datagrams 0xca9f\n\
         create interface stadium0\n\
         set stadium0 mtu 1420\n\
         add address 10.7.0.1/32 dev stadium0\n\
         set stadium0 up\n\
         add route unreachable 0.0.0.0/0 table 51871 metric 4294967295\n\
         add route 0.0.0.0/0 dev stadium0 table 51871\n\
         add route unreachable ::/0 table 51871 metric 4294967295\n\
         add rule IPv4 priority 32764 lookup main suppress_prefixlength 0\n\
         add rule IPv4 priority 32765 not fwmark 0xca9f lookup 51871\n\
         add rule IPv6 priority 32764 lookup main suppress_prefixlength 0\n\
         add rule IPv6 priority 32765 not fwmark 0xca9f lookup 51871\n"
    );
    assert!(matches!(plan.operations[0], Operation::SetFilter(_)), "before anything else");
    assert_eq!(filter[0], "set nftables table inet stadium-stadium0 (kill switch)");
    for rule in [
        "  guard iifname != \"stadium0\" ip daddr 10.7.0.1 fib saddr type != local counter drop",
        "  out meta mark 0x0000ca9f meta l4proto udp accept",
        "  out counter reject with icmpx admin-prohibited",
    ] {
        assert!(filter.contains(&rule), "{filter:#?}");
    }
    assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("cut off, with SSH and name servers there"));
    assert!(plan.warnings[1].contains("interface.dns names no server"));
}

#[test]
fn without_nf_tables_a_kill_switch_is_refused_and_a_clamp_left_out() {
    let facts = Facts { nftables: false, ..facts() };
    let error = Plan::new(&spec(&[], &["0.0.0.0/0"]), &facts, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.to_string().contains("set interface.kill_switch to off"), "{error}");
    let clamped = InterfaceSpec { mss_clamp: AutoOff::Auto, ..spec(&[], &[]) };
    let plan = Plan::new(&clamped, &facts, None).unwrap();
    assert!(!plan.has_filter());
    assert!(plan.warnings[0].contains("segment sizes"), "{:?}", plan.warnings);
}

#[test]
fn name_servers_come_last_and_are_said_where_no_peer_carries_them() {
    let servers = vec!["10.7.0.1".parse().unwrap(), "198.51.100.53".parse().unwrap()];
    let spec = InterfaceSpec { dns: servers, ..spec(&[], &["10.7.0.0/24"]) };
    let plan = Plan::new(&spec, &facts(), None).unwrap();
    let last = plan.operations.last().unwrap().to_string();
    assert_eq!(last, "set name servers 10.7.0.1, 198.51.100.53 by /etc/resolv.conf");
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("198.51.100.53 is in no peer's allowed_ips"));
}

#[test]
fn what_replaces_what() {
    let clamp = |mtu| InterfaceSpec { mtu, mss_clamp: AutoOff::Auto, ..spec(&[], &[]) };
    let plan = |spec: &InterfaceSpec| Plan::new(spec, &facts(), None).unwrap();
    let (old, new) = (plan(&clamp(1420)), plan(&clamp(1300)));
    assert!(new.operations[0].replaces(&old.operations[0]), "the filter");
    assert!(new.operations[1].replaces(&old.operations[1]), "the MTU");
    assert!(!new.operations[0].replaces(&old.operations[1]));
}

#[test]
fn without_kill_switch_only_the_family_asked_for_is_touched() {
    let spec =
        InterfaceSpec { kill_switch: Switch::Off, fwmark: Fwmark::Mark(7), ..spec(&[], &["::/0"]) };
    let plan = Plan::new(&spec, &facts(), None).unwrap();
    assert_eq!(plan.fwmark, Some(7));
    let text = plan.to_string();
    assert!(!text.contains("IPv4") && !text.contains("unreachable"), "{text}");
    assert!(text.contains("add rule IPv6 priority 32765 not fwmark 0x7 lookup 51871"), "{text}");
    assert!(plan.warnings.iter().any(|w| w.contains("IPv4 has no default route")));
}

#[test]
fn numbers_and_priorities_of_others_are_left_alone_and_ours_are_kept() {
    let mut facts = facts();
    facts.routes[2].table = 51871;
    facts.rules.push(RuleFact { priority: 100, table: 51872, ..facts.rules[0] });
    let spec = spec(&[], &["0.0.0.0/0"]);
    let plan = Plan::new(&spec, &facts, None).unwrap();
    let policy = plan.policy.clone().unwrap();
    assert_eq!((policy.mark, policy.table), (51873, 51873));
    assert_eq!(policy.families, [(Family::V4, 99), (Family::V6, 32765)]);
    // At a reload our own routes and rules stand, and more have come.
    facts.routes[3].table = 51873;
    facts.rules.push(RuleFact { priority: 50, ..facts.rules[0] });
    assert_eq!(Plan::new(&spec, &facts, Some(&plan)).unwrap(), plan);
}

#[test]
fn a_table_takes_everything_and_no_rules() {
    let spec = InterfaceSpec {
        routes: Routes::Table(99),
        ..spec(&["10.7.0.1/24"], &["0.0.0.0/0", "10.7.0.0/24"])
    };
    let plan = Plan::new(&spec, &facts(), None).unwrap();
    let routes: Vec<String> = plan.operations.iter().skip(3).map(ToString::to_string).collect();
    assert_eq!(
        routes,
        [
            "add route 0.0.0.0/0 dev stadium0 table 99",
            "add route 10.7.0.0/24 dev stadium0 table 99"
        ]
    );
    let spec = InterfaceSpec { routes: Routes::Off, ..spec };
    assert_eq!(Plan::new(&spec, &facts(), None).unwrap().operations.len(), 3);
}

#[test]
fn contradictions_are_refused() {
    let refused = |spec: &InterfaceSpec| Plan::new(spec, &facts(), None).unwrap_err();
    let error = refused(&InterfaceSpec { fwmark: Fwmark::Off, ..spec(&[], &["0.0.0.0/0"]) });
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let error = refused(&InterfaceSpec { kill_switch: Switch::On, ..spec(&[], &["10.0.0.0/8"]) });
    assert!(error.to_string().contains("no default route leads into the tunnel"), "{error}");

    let hooks = Hooks { post_up: vec!["true".into()], ..Hooks::default() };
    let trust = HookTrust::WritableByOthers(0o666);
    let error = refused(&InterfaceSpec { hooks, hook_trust: trust, ..spec(&[], &[]) });
    assert_eq!(error.kind, ErrorKind::Hook);
    assert!(error.to_string().contains("mode 0666"), "{error}");
}

#[test]
fn what_another_interface_has_is_refused_or_told() {
    let error = Plan::new(&spec(&[], &["192.168.5.0/24"]), &facts(), None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists);
    assert!(
        error.message
            == "allowed_ips 192.168.5.0/24 cannot be routed to stadium0: dev eth0 (its own \
                network) has it",
        "{error}"
    );
    let warnings = |addresses: &[&str], allowed: &[&str]| {
        Plan::new(&spec(addresses, allowed), &facts(), None).unwrap().warnings
    };
    assert_eq!(
        warnings(&[], &["2001:db8:5::/64"]),
        ["allowed_ips 2001:db8:5::/64 is also routed to dev eth0 (its own network) with \
             metric 256: that route wins"]
    );
    assert_eq!(
        warnings(&[], &["10.0.0.0/8"]),
        ["a part of allowed_ips 10.0.0.0/8 stays outside the tunnel: 10.9.0.0/16 dev eth0"]
    );
    assert_eq!(
        warnings(&["192.168.5.7/32", "192.168.5.8/24"], &[]),
        [
            "address 192.168.5.7 is also assigned to eth0",
            "network 192.168.5.0/24 is also that of eth0"
        ]
    );
}

#[test]
fn a_tunnel_that_would_carry_itself_is_told() {
    let endpoints: Vec<IpAddr> =
        ["203.0.113.9", "192.168.5.20"].iter().map(|a| a.parse().unwrap()).collect();
    let spec = InterfaceSpec { endpoints, ..spec(&[], &["0.0.0.0/1", "128.0.0.0/1"]) };
    let warnings = Plan::new(&spec, &facts(), None).unwrap().warnings;
    let told: Vec<&String> = warnings.iter().filter(|w| w.contains("endpoint")).collect();
    assert_eq!(told.len(), 1, "the host on eth0's own network is no loop: {warnings:?}");
    assert!(told[0].starts_with("the endpoint 203.0.113.9 lies inside allowed_ips 128.0.0.0/1"));
}

#[test]
fn hooks_become_operations_of_their_stage() {
    let hooks = Hooks {
        pre_up: vec!["modprobe tun".into()],
        post_up: vec!["echo $STADIUM_PORT".into()],
        ..Hooks::default()
    };
    let plan = {
        let hook_trust = HookTrust::RootOnly;
        let spec = InterfaceSpec { hooks, hook_trust, ..spec(&[], &[]) };
        Plan::new(&spec, &facts(), None).unwrap()
    };
    let text = plan.to_string();
    assert!(text.starts_with("run pre_up hook: modprobe tun\ncreate interface"), "{text}");
    assert!(text.ends_with("run post_up hook: echo $STADIUM_PORT\n"), "{text}");
    let [Operation::RunHook(hook)] = &plan.hooks(HookStage::PostUp, 51871)[..] else {
        panic!("one hook");
    };
    assert_eq!((hook.environment.port, hook.environment.mtu), (51871, 1420));
}

#[test]
fn the_index_reaches_every_operation() {
    let plan = Plan::new(&spec(&["10.7.0.1/24"], &["10.8.0.0/16", "::/0"]), &facts(), None)
        .unwrap()
        .with_index(12);
    let text = serde_json::to_string(&plan.operations).unwrap();
    assert!(text.contains("\"index\":12") && !text.contains("\"index\":0"), "{text}");
}

#[test]
fn without_ipv6_its_routes_are_left_out_and_its_addresses_refused() {
    let facts = Facts { without_ipv6: vec![0], ..facts() };
    let plan =
        Plan::new(&spec(&["10.7.0.1/32"], &["fd08::/48", "0.0.0.0/0", "::/0"]), &facts, None)
            .unwrap();
    let text = plan.to_string();
    assert!(!text.contains("fd08") && !text.contains("::/0 dev"), "{text}");
    assert!(text.contains("add route unreachable ::/0"), "the kill switch holds: {text}");
    assert!(plan.warnings.iter().any(|w| w.contains("are left out, 1 in all")));
    let error = Plan::new(&spec(&["fd07::1/64"], &[]), &facts, None).unwrap_err();
    assert!(error.to_string().contains("cannot have the address fd07::1/64: IPv6 is switched off"));
}

#[test]
fn a_strict_reverse_path_is_shown_the_mark_and_the_setting_is_kept_across_reloads() {
    let strict = Facts { strict_reverse_path: true, ..facts() };
    let spec = spec(&[], &["0.0.0.0/0"]);
    let plan = Plan::new(&spec, &strict, None).unwrap();
    let text = plan.to_string();
    assert!(text.contains("mark meta l4proto udp socket mark 0x0000ca9f meta mark set 0x0000ca9f"));
    assert!(text.contains("set net.ipv4.conf.all.src_valid_mark 1\n"), "{text}");
    assert!(!plan.warnings.iter().any(|w| w.contains("rp_filter")), "{:?}", plan.warnings);
    let set = Facts { marks_honoured: true, ..strict.clone() };
    assert_eq!(Plan::new(&spec, &set, Some(&plan)).unwrap(), plan, "a reload");
    // set by somebody else it is not ours to take back
    let plan = Plan::new(&spec, &set, None).unwrap();
    assert!(!plan.operations.contains(&Operation::HonourMarks));
    assert!(!Plan::new(&spec, &facts(), None).unwrap().to_string().contains("valid_mark"));
}
