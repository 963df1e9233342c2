//! The command line: global options and the list of verbs.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::verbs;

const AFTER_HELP: &str = "\
IFACE is an interface's name (its socket is /run/stadium/IFACE.sock, its peer file \
/etc/stadium/IFACE.yaml) or the path of a peer file (with a / or ending in .yaml).

Exit codes: 0 done, 1 failed, 2 wrong usage or invalid file, 3 not running.
Environment: RUST_LOG sets the log level, NO_COLOR turns colour off.";

/// Holds the parsed command line.
#[derive(Debug, Parser)]
#[command(name = "stadium", version, about = "A userspace VPN tunnel", after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The form of log messages and errors on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "text|json",
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Names the forms of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl LogFormat {
    /// Returns the name as on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Lists the verbs, in the order of the help page.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Up(verbs::up::Up),
    Confirm(verbs::confirm::Confirm),
    Down(verbs::down::Down),
    Status(verbs::status::StatusVerb),
    Reload(verbs::reload::Reload),
    Wait(verbs::wait::Wait),
    Ping(verbs::ping::Ping),
    Doctor(verbs::doctor::Doctor),
    Explain(verbs::explain::Explain),
    Check(verbs::check::Check),
    Noise(verbs::noise::NoiseVerb),
    Peer(verbs::peer::PeerVerb),
    Init(verbs::init::Init),
    Import(verbs::import::Import),
    Genkey(verbs::genkey::Genkey),
    Pubkey(verbs::pubkey::Pubkey),
    Genpsk(verbs::genpsk::Genpsk),
    Completions(verbs::completions::Completions),
    Man(verbs::man::Man),
    Helper(verbs::helper::Helper),
}

/// Reads a duration as on the command line: `10s`, `500ms`, `2m`, `1h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is no unit; write a duration such as 500ms, 10s or 2m")),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * seconds).ok())
        .ok_or_else(|| format!("`{text}` is no duration; write one such as 500ms, 10s or 2m"))
}

/// Reads a duration that is longer than nothing.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_take_units_and_refuse_nonsense() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("0.25"), Ok(Duration::from_millis(250)));
        for nonsense in ["", "s", "-1s", "1d", "1 s", "NaN", "inf", "1e400", "10sec"] {
            assert!(duration(nonsense).is_err(), "{nonsense}");
        }
        assert!(positive_duration("0s").is_err());
    }
}
