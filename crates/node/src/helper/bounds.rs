//! What a daemon may ask of its helper: changes to its own interface and its own kinds of routes
//! and rules, and the hooks that its peer file named when it was still trusted.

use serde::{Deserialize, Serialize};

use crate::system::{ErrorKind, Hook, Link, Operation, SystemError, Target};

/// The bounds of one daemon, told before it gives up its privileges.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// The interface that may be changed.
    pub(crate) link: Link,
    /// The hooks that may run; their environment may differ.
    pub(crate) hooks: Vec<Hook>,
}

impl Bounds {
    /// Refuses an operation that is none of this daemon's business.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`], naming the operation.
    pub(super) fn check(&self, operation: &Operation) -> Result<(), SystemError> {
        let allowed = match operation {
            Operation::SetMtu { link, .. }
            | Operation::SetUp(link)
            | Operation::SetDown(link)
            | Operation::KeepSecondaries(link)
            | Operation::AddAddress { link, .. }
            | Operation::RemoveAddress { link, .. } => *link == self.link,
            Operation::AddRoute(route) | Operation::RemoveRoute(route) => match &route.target {
                Target::Device(link) => *link == self.link,
                // it carries our protocol number, and nothing can be sent anywhere by it
                Target::Unreachable => true,
            },
            // they carry our protocol number: nobody else's is touched
            Operation::AddRule(_) | Operation::RemoveRule(_) => true,
            // the table and the name servers of its own interface, under its name
            Operation::SetFilter(filter) => filter.interface == self.link.name,
            Operation::RemoveFilter(interface) | Operation::RestoreDns { interface, .. } => {
                *interface == self.link.name
            }
            Operation::SetDns(dns) => dns.interface == self.link.name,
            Operation::HonourMarks | Operation::IgnoreMarks => true,
            Operation::RunHook(hook) => self.hooks.iter().any(|known| {
                (known.stage, &known.command) == (hook.stage, &hook.command)
                    && known.environment.interface == hook.environment.interface
                    && known.environment.file == hook.environment.file
            }),
        };
        if allowed {
            return Ok(());
        }
        Err(SystemError::new(
            ErrorKind::Permission,
            format!("the privileged helper of {} does not {}", self.link, operation.summary()),
        )
        .with_remedy("stop the daemon and start it again with what it shall do"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::{Family, HookEnvironment, HookStage, Route, Rule, RuleKind, TABLE_MAIN};

    fn link(name: &str, index: u32) -> Link {
        Link { name: name.into(), index }
    }

    fn hook(command: &str) -> Hook {
        let environment = HookEnvironment {
            interface: "stadium0".into(),
            file: "/etc/stadium/stadium0.yaml".into(),
            ..HookEnvironment::default()
        };
        Hook { stage: HookStage::PostDown, command: command.into(), environment }
    }

    fn bounds() -> Bounds {
        Bounds { link: link("stadium0", 7), hooks: vec![hook("true")] }
    }

    fn route(target: Target) -> Route {
        Route { destination: "10.0.0.0/8".parse().unwrap(), target, table: TABLE_MAIN, metric: 0 }
    }

    #[test]
    fn its_own_interface_routes_and_rules_are_allowed() {
        let own = link("stadium0", 7);
        let address = "10.7.0.1/24".parse().unwrap();
        let rule = Rule { family: Family::V4, priority: 9, kind: RuleKind::SuppressDefault };
        for operation in [
            Operation::SetMtu { link: own.clone(), mtu: 1400 },
            Operation::SetUp(own.clone()),
            Operation::SetDown(own.clone()),
            Operation::KeepSecondaries(own.clone()),
            Operation::AddAddress { link: own.clone(), address },
            Operation::RemoveAddress { link: own.clone(), address },
            Operation::AddRoute(route(Target::Device(own.clone()))),
            Operation::RemoveRoute(route(Target::Device(own))),
            Operation::AddRoute(route(Target::Unreachable)),
            Operation::AddRule(rule),
            Operation::RemoveRule(rule),
        ] {
            bounds().check(&operation).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn other_interfaces_are_refused() {
        let address = "10.7.0.1/24".parse().unwrap();
        for other in [link("eth0", 2), link("stadium0", 2), link("eth0", 7)] {
            for operation in [
                Operation::SetMtu { link: other.clone(), mtu: 1400 },
                Operation::SetUp(other.clone()),
                Operation::SetDown(other.clone()),
                Operation::KeepSecondaries(other.clone()),
                Operation::AddAddress { link: other.clone(), address },
                Operation::RemoveAddress { link: other.clone(), address },
                Operation::AddRoute(route(Target::Device(other.clone()))),
                Operation::RemoveRoute(route(Target::Device(other.clone()))),
            ] {
                let error = bounds().check(&operation).unwrap_err();
                assert_eq!(error.kind, ErrorKind::Permission, "{operation}");
            }
        }
    }

    #[test]
    fn only_hooks_that_were_named_run_and_only_in_their_stage() {
        let mut known = hook("true");
        known.environment.mtu = 1300;
        assert!(bounds().check(&Operation::RunHook(known)).is_ok());
        let mut moved = hook("true");
        moved.stage = HookStage::PostUp;
        let mut elsewhere = hook("true");
        elsewhere.environment.file = "/tmp/mine.yaml".into();
        for other in [hook("reboot"), moved, elsewhere] {
            let error = bounds().check(&Operation::RunHook(other)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Permission);
        }
    }
}
