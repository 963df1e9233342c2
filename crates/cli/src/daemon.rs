//! Shim until the node crate runs.
use crate::failure::Failure;
use stadium_config::Loaded;
pub(crate) fn run(_loaded: Loaded, ready: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    ready();
    Err(Failure::failed("shim"))
}
pub(crate) fn plan(_loaded: &Loaded) -> Result<String, Failure> {
    Err(Failure::failed("shim"))
}
pub(crate) fn clear_leftovers(_name: &str) -> Result<bool, Failure> {
    Ok(false)
}
