//! Loading a peer file, with what there is to say about it said.

use std::path::Path;

use stadium_config::{Diagnostics, Loaded};

use crate::failure::Failure;
use crate::output;

/// Loads the peer file at `path` and prints its warnings on stderr.
///
/// # Errors
/// Everything that is wrong, exit code 2.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    let loaded = stadium_config::load(path).map_err(|wrong| Failure::usage(wrong.to_string()))?;
    warn(&loaded.warnings);
    Ok(loaded)
}

/// Prints warnings on stderr.
pub(crate) fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        output::message(&warnings.to_string());
    }
}
