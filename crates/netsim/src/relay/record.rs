//! The relay's record: one line of CSV for each datagram that enters or leaves.

use std::io::{self, Write};

use super::Direction;

/// Where a datagram was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It came in from a socket.
    In,
    /// It went out to a socket.
    Out,
}

/// Writes the record; without a writer it does nothing.
pub(super) struct Record(Option<Box<dyn Write + Send>>);

impl Record {
    /// Starts a record with its heading.
    pub(super) fn new(mut writer: Option<Box<dyn Write + Send>>) -> io::Result<Self> {
        if let Some(writer) = &mut writer {
            writer.write_all(HEADING.as_bytes())?;
        }
        Ok(Self(writer))
    }

    /// Adds a line.
    pub(super) fn line(
        &mut self,
        now: u64,
        direction: Direction,
        seen: Seen,
        client: u64,
        len: usize,
    ) -> io::Result<()> {
        let Some(writer) = &mut self.0 else { return Ok(()) };
        let direction = match direction {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        };
        let seen = match seen {
            Seen::In => "in",
            Seen::Out => "out",
        };
        writeln!(writer, "{now},{direction},{seen},{client},{len}")
    }

    /// Writes out what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |writer| writer.flush())
    }
}

const HEADING: &str = "time_ns,direction,event,client,length\n";
