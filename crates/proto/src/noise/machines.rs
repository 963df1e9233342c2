//! The state machines of the engine `machine`, as a file brings them: one in a line, in the text
//! form of maybenot (version 2).
//!
//! The engine is part of builds with the cargo feature `machine` only. Without it no file can be
//! read, so that nobody believes to run what is not there.

use core::fmt;
use std::sync::Arc;

/// The most machines of one file.
pub const MOST: usize = 32;

/// Machines that have been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machines(Arc<[Box<str>]>);

impl Machines {
    /// Whether this build has the engine.
    pub const BUILT: bool = cfg!(feature = "machine");

    /// Reads the text of a file: a machine a line; empty lines and those that begin with `#` say
    /// nothing.
    ///
    /// # Errors
    /// [`MachineError`], with the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, MachineError> {
        if !Self::BUILT {
            return Err(MachineError::NotBuilt);
        }
        let mut machines: Vec<Box<str>> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            check(line).map_err(|why| MachineError::Line { number, why })?;
            if machines.len() == MOST {
                return Err(MachineError::TooMany { number });
            }
            machines.push(line.into());
        }
        if machines.is_empty() {
            return Err(MachineError::Empty);
        }
        Ok(Self(machines.into()))
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is none, as where another engine is chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists the texts.
    #[cfg(feature = "machine")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|text| &**text)
    }
}

#[cfg(feature = "machine")]
fn check(line: &str) -> Result<(), String> {
    line.parse::<maybenot::Machine>().map(drop).map_err(|error| error.to_string())
}

#[cfg(not(feature = "machine"))]
fn check(_line: &str) -> Result<(), String> {
    Ok(())
}

/// Says why a file gives no machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineError {
    /// This build has no such engine.
    NotBuilt,
    /// The file has no machine.
    Empty,
    /// There are more than [`MOST`].
    TooMany {
        /// The line of the first that is too many.
        number: usize,
    },
    /// A line is no machine.
    Line {
        /// Which line, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => f.write_str(
                "this build has no noise engine `machine`; build it with `--features machine`, or \
                 write `engine: ledger`, `shaped` or `constant`",
            ),
            Self::Empty => f.write_str("there is no machine in it; write one a line"),
            Self::TooMany { number } => {
                write!(f, "line {number}: there are more than {MOST} machines; take some out")
            }
            Self::Line { number, why } => {
                write!(f, "line {number}: {why}; write a machine of maybenot 2 in its text form")
            }
        }
    }
}

impl std::error::Error for MachineError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "machine"))]
    #[test]
    fn without_the_feature_no_file_is_taken() {
        let error = Machines::parse("anything").unwrap_err();
        assert_eq!(error, MachineError::NotBuilt);
        assert!(error.to_string().contains("--features machine"));
    }

    #[cfg(feature = "machine")]
    #[test]
    fn files_are_read_or_refused_with_their_line() {
        // the machine without any action, as the library prints it
        let machine = crate::noise::engine::machine_testing::idle();
        let read = Machines::parse(&format!("# one\n\n {machine} \n")).unwrap();
        assert_eq!((read.len(), read.is_empty()), (1, false));
        assert_eq!(Machines::parse("# none\n"), Err(MachineError::Empty));
        let wrong = Machines::parse(&format!("{machine}\n02nothing\n")).unwrap_err();
        assert!(wrong.to_string().starts_with("line 2: "), "{wrong}");
        let many = format!("{machine}\n").repeat(MOST + 1);
        assert_eq!(Machines::parse(&many), Err(MachineError::TooMany { number: MOST + 1 }));
    }
}
