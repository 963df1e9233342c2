//! The clear ERROR: a hint, never more (`protocol.md` §3).

use subtle::ConstantTimeEq as _;

use super::request::Initiator;
use super::{Refusal, StatusCode};
use crate::wire::{self, ERROR_LEN, ErrorView, RequestView, VERSION};

/// What a clear ERROR says. Nothing proves who sent it, but it knows the mac of the REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorHint {
    /// 1 or 2.
    pub code: StatusCode,
    /// The highest version that the responder says it speaks.
    pub max_version: u8,
}

/// Builds the ERROR to a REQUEST whose mac is valid; `None` if the code may not travel in the
/// clear or the handshake is an open one.
pub fn build_error(request: &RequestView<'_>, code: StatusCode) -> Option<[u8; ERROR_LEN]> {
    (request.is_encrypted() && code.may_travel_clear())
        .then(|| wire::error(code.0, VERSION, request.index_i(), request.mac()))
}

impl Initiator {
    /// Reads an ERROR to this REQUEST. It changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Wire`], [`Refusal::OtherRequest`] or [`Refusal::ErrorCode`].
    pub fn open_error(&self, datagram: &[u8]) -> Result<ErrorHint, Refusal> {
        let view = ErrorView::parse(datagram)?;
        if view.index_i() != self.index_i() || !bool::from(view.echo().ct_eq(self.mac())) {
            return Err(Refusal::OtherRequest);
        }
        let code = StatusCode(view.code());
        if !self.kind().is_encrypted() || !code.may_travel_clear() {
            return Err(Refusal::ErrorCode);
        }
        Ok(ErrorHint { code, max_version: view.max_version() })
    }
}
