//! Files (landlock(7)): folders that are read, folders that are written, nothing else.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};

use super::Needs;

/// Where the system keeps what resolving a name takes: configuration, its libraries, and what
/// local resolvers leave for us. Time zones and `/proc` tell about ourselves.
const SYSTEM: [&str; 7] = ["/etc", "/usr", "/lib", "/lib64", "/proc", "/run", "/sys/class/net"];

/// Devices that libraries open.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// Restricts the calling thread; returns, for people, how far the kernel goes along.
pub(super) fn restrict(needs: &Needs) -> Result<&'static str, String> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::RemoveFile
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::Refer
        | AccessFs::Truncate;
    let device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile;
    let restricted = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .create()?
            .add_rules(path_beneath_rules(SYSTEM.iter().map(Path::new), read))?
            .add_rules(path_beneath_rules(DEVICES.iter().map(Path::new), device))?
            .add_rules(path_beneath_rules(&needs.read, read))?
            .add_rules(path_beneath_rules(&needs.write, write))?
            .restrict_self()
    };
    let status = restricted().map_err(|error: landlock::RulesetError| error.to_string())?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "restricted",
        RulesetStatus::PartiallyEnforced => "restricted as far as this kernel goes",
        RulesetStatus::NotEnforced => "open: this kernel has no Landlock",
    })
}
