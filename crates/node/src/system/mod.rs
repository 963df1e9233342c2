//! Everything that needs privilege, behind one small door.
//!
//! The rest of the node asks [`System`] for facts, has a [`Plan`] made from them and from an
//! [`InterfaceSpec`], and gives the plan back to be applied, reconciled or taken down. What is
//! done is a list of [`Operation`]s: plain, serialisable data that one executor carries out, each
//! with what undoes it. Nothing else in the node speaks netlink or runs a hook, so that this
//! module can move into a privileged helper process with the operations as its wire format.
//!
//! | stage | call |
//! |---|---|
//! | is the name ours to take | [`System::claim`], [`System::ensure_name_is_free`] |
//! | what would be done | [`System::facts`], [`System::auto_mtu`], [`Plan::new`], its `Display` |
//! | up | [`System::run_hooks`], [`Plan::with_index`], [`System::apply`] |
//! | reload | [`Plan::new`] with the running plan, [`System::reconcile`] |
//! | others interfere | [`watch()`], [`System::repair`] |
//! | down | [`System::take_down`], [`StateFile::remove`] |
//! | down after a kill | [`System::clear_leftovers`] |

mod dns;
mod error;
mod executor;
mod facts;
mod filter;
mod hooks;
mod mtu;
mod netlink;
mod operation;
mod plan;
mod policy;
mod spec;
mod state;
mod watch;
mod way;

pub use dns::{Dns, Resolver};
pub use error::{ErrorKind, SystemError};
pub use executor::{Applied, Leftovers, System};
pub use facts::{AddressFact, Facts, LinkFact, RouteFact, RuleFact};
pub use filter::{Filter, KillSwitch};
pub use hooks::{HOOK_TIMEOUT, Hook, HookEnvironment, HookStage};
pub use mtu::{LEAST_MTU, UNKNOWN_PATH_MTU, auto_mtu, inner_mtu};
pub use operation::{
    Family, Link, Operation, ROUTE_PROTOCOL, Route, Rule, RuleKind, TABLE_MAIN, Target,
};
pub use plan::Plan;
pub use policy::Policy;
pub use spec::InterfaceSpec;
pub use state::{ProcessId, State, StateFile};
pub use watch::{NetworkEvent, NetworkEvents, watch};
pub use way::{NoWay, Way};
