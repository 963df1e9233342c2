//! The verbs, one module each: its arguments and what it does with them.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod confirm;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod explain;
pub(crate) mod genkey;
pub(crate) mod genpsk;
pub(crate) mod helper;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod noise;
pub(crate) mod peer;
pub(crate) mod ping;
pub(crate) mod pubkey;
pub(crate) mod reload;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod wait;

use crate::arguments::{Arguments, Verb};
use crate::failure::Failure;

/// Carries out the verb of the command line.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let format = arguments.log_format;
    match arguments.verb {
        Verb::Up(up) => up.run(format),
        Verb::Confirm(confirm) => confirm.run(),
        Verb::Down(down) => down.run(),
        Verb::Status(status) => status.run(),
        Verb::Reload(reload) => reload.run(),
        Verb::Wait(wait) => wait.run(),
        Verb::Ping(ping) => ping.run(),
        Verb::Doctor(doctor) => doctor.run(),
        Verb::Explain(explain) => explain.run(),
        Verb::Check(check) => check.run(),
        Verb::Noise(noise) => noise.run(),
        Verb::Peer(peer) => peer.run(),
        Verb::Init(init) => init.run(),
        Verb::Import(import) => import.run(),
        Verb::Genkey(genkey) => genkey.run(),
        Verb::Pubkey(pubkey) => pubkey.run(),
        Verb::Genpsk(genpsk) => genpsk.run(),
        Verb::Completions(completions) => completions.run(),
        Verb::Man(man) => man.run(),
        Verb::Helper(helper) => helper.run(format),
    }
}
