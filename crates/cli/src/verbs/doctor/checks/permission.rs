//! What the caller may do: ask the daemon, make an interface.

use super::super::facts::{Daemon, Facts};
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    match &facts.daemon {
        Daemon::Running(_) => {}
        Daemon::Forbidden(why) => found.push(Finding::problem(
            finding::NO_PERMISSION,
            format!("the daemon runs, but may not be asked: {why}"),
            "run as root or with sudo, or name a group of yours in `control.group`",
        )),
        Daemon::Mute(why) => found.push(Finding::problem(
            finding::NO_ANSWER,
            format!("the daemon does not answer on its control socket: {why}"),
            "see its log; if it hangs, end it with `stadium down`, or kill it and report that",
        )),
        Daemon::Absent => {
            if !facts.permission.net_admin {
                found.push(Finding::problem(
                    finding::NO_PERMISSION,
                    "`stadium up` needs CAP_NET_ADMIN, which you do not have here",
                    "run as root or with sudo, or try it out in a user namespace: \
                     `unshare -Urn stadium up …`",
                ));
            }
            if let Some(why) = &facts.permission.tun {
                found.push(Finding::problem(
                    finding::NO_PERMISSION,
                    format!("no TUN interface can be made: /dev/net/tun: {why}"),
                    "`modprobe tun`; in a container, pass the device /dev/net/tun in",
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privilege_is_asked_for_only_where_nothing_runs() {
        let mut facts = Facts::healthy();
        facts.permission.net_admin = false;
        facts.permission.tun = Some("No such file or directory".to_owned());
        assert!(check(&facts).is_empty());
        facts.daemon = Daemon::Absent;
        assert_eq!(check(&facts).len(), 2);
        facts.daemon = Daemon::Forbidden("Permission denied".to_owned());
        let found = check(&facts);
        assert_eq!((found.len(), found[0].code), (1, finding::NO_PERMISSION));
    }
}
