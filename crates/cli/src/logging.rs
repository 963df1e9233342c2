//! The daemon's log: to a terminal, a file or the journal, as text or JSON.
//!
//! Invariant: text in the journal starts with its priority (`<6>`) and has no time of its own,
//! as the journal keeps both.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::arguments::LogFormat;
use crate::failure::Failure;
use crate::output::Style;

/// The level where `RUST_LOG` says nothing.
const DEFAULT_LEVEL: &str = "info";

/// Sends log messages of this process to stderr.
///
/// # Errors
/// A wrong usage: `RUST_LOG` that is no filter.
pub(crate) fn start(format: LogFormat) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            Failure::usage(format!(
                "RUST_LOG is `{text}`: {error}; set it to error, warn, info, debug or trace, or \
                 to TARGET=LEVEL pairs with commas between"
            ))
        })?,
        _ => EnvFilter::new(DEFAULT_LEVEL),
    };
    // a line that cannot be written (a full disk, a reader that went away) is lost: the complaint
    // would go to the same place, and the library panics where that fails too
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_start(),
        LogFormat::Text if stderr_is_journal() => {
            builder.with_ansi(false).event_format(JournalLines).finish().try_start()
        }
        LogFormat::Text => builder
            .with_ansi(Style::of(&io::stderr()).colours())
            .with_target(false)
            .finish()
            .try_start(),
    };
    started.map_err(|error| Failure::failed(format!("cannot start logging: {error}")))
}

/// Makes a subscriber the one of this process.
trait Start {
    fn try_start(self) -> Result<(), tracing::subscriber::SetGlobalDefaultError>;
}

impl<S: Subscriber + Send + Sync> Start for S {
    fn try_start(self) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
        tracing::subscriber::set_global_default(self)
    }
}

/// Names the journal's stream as `JOURNAL_STREAM` does: device and inode of a socket.
pub(crate) fn journal_stream(stat: &rustix::fs::Stat) -> String {
    format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Tells whether stderr goes to the journal (systemd.exec(5), `JOURNAL_STREAM`).
fn stderr_is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    !io::stderr().is_terminal()
        && rustix::fs::fstat(io::stderr()).is_ok_and(|stat| journal_stream(&stat) == named)
}

/// Writes an event as a line that the journal sorts by priority (sd-daemon(3)).
struct JournalLines;

impl<S, N> FormatEvent<S, N> for JournalLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn journal_lines_start_with_their_priority() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(JournalLines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(peer = "bob", "no answer");
            tracing::info!("up");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<4>no answer peer=\"bob\"\n<6>up\n");
    }
}
