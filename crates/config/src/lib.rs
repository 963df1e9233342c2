//! The YAML peer file of Stadium: parsed, validated, compared.
//!
//! [`load`] turns a path into a [`PeerFile`], in which nothing is left to check, or into
//! [`Diagnostics`]: everything that is wrong, each with its line, column and remedy.
//! [`diff`] says what changed between two of them, and what each change costs a running daemon.
//!
//! On the way: the text becomes a tree of values that know their places (`tree`), a second
//! parser confirms it and types its scalars (`agree`), both at once where the text is plain
//! (`plain`); sections are held against the keys they may
//! have (`section`), values against what they may be (`value`), and all against each other
//! (`peers`, `check`).

mod agree;
mod check;
mod control;
mod diagnostic;
mod diff;
mod edit;
mod glance;
mod interface;
mod load;
mod model;
mod name;
mod noise;
mod outline;
mod peers;
mod plain;
mod quantity;
mod secret;
mod section;
mod settings;
mod suggest;
mod syntax;
mod template;
mod tree;
mod value;

pub use diagnostic::{Diagnostic, Diagnostics, Position, Severity};
pub use diff::{Change, Effect, FieldChange, What, diff};
pub use edit::{EditError, NewPeer, NewPresharedKey, add_peer, remove_peer, yaml_text};
pub use glance::{Glance, glance};
pub use load::{Environment, Loaded, load, load_again, load_in, parse};
pub use model::{
    AutoOff, Ciphers, Control, Endpoint, Fwmark, HandshakeKind, HandshakeRate, HookTrust, Hooks,
    Interface, Listen, ListenOn, Mtu, Peer, PeerFile, PostQuantum, Routes, Switch, Workers,
};
pub use name::{CONFIG_FOLDER, InterfaceName, InvalidName, RUN_FOLDER, Target, name_of_file};
pub use noise::{NoiseEngine, NoiseSettings, SizeLaw};
pub use quantity::{BadQuantity, Rate, Size, format_duration, parse_duration};
pub use template::template;
