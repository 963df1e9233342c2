//! Lines of the control socket: JSON with a newline behind it, bounded both ways.
//!
//! Invariants: what `encode_*` returns has exactly one newline, at its end (JSON escapes those
//! inside strings); what `decode_*` refuses is answered, never logged.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Kind, Refusal, Request, Response};

/// The longest request line that a daemon reads, bytes with the newline.
pub const MAX_REQUEST: usize = 16 * 1024;

/// The longest response line that a client reads, bytes with the newline: room for the status
/// of 65,536 peers.
pub const MAX_RESPONSE: usize = 64 * 1024 * 1024;

/// Reads one line (with or without its newline) as a request.
///
/// # Errors
/// Returns the refusal to answer with: a line that is too long, or is no request of this version.
pub fn decode_request(line: &[u8]) -> Result<Request, Refusal> {
    if line.len() > MAX_REQUEST {
        return Err(Refusal::new(
            Kind::BadRequest,
            format!("a request is longer than {MAX_REQUEST} bytes; send one JSON object a line"),
        ));
    }
    serde_json::from_slice(line.trim_ascii()).map_err(|error| {
        Refusal::new(
            Kind::BadRequest,
            format!(
                "the daemon does not understand this request ({error}); \
                 the program and the daemon may be of different versions: restart the daemon"
            ),
        )
    })
}

/// Renders a request as one line with its newline.
pub fn encode_request(request: &Request) -> Vec<u8> {
    encode(request)
}

/// Renders a response as one line with its newline.
pub fn encode_response(response: &Response) -> Vec<u8> {
    encode(response)
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(value).expect("plain data with string keys always serializes");
    line.push(b'\n');
    line
}

/// Reads one line as a response; for the client.
pub(super) fn decode_response<T: DeserializeOwned>(line: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(line.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Effect, Pong, ReloadChange, ReloadReport, Status, Stopping};

    #[test]
    fn requests_round_trip_on_one_line() {
        for request in [
            Request::Status,
            Request::Reload { dry_run: true },
            Request::Down,
            Request::Connect { peer: None },
            Request::Connect { peer: Some("a\nb".into()) },
            Request::Ping { peer: "bob".into(), id: u64::MAX, timeout_ms: 1000 },
        ] {
            let line = encode_request(&request);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(decode_request(&line), Ok(request));
        }
    }

    #[test]
    fn the_wire_form_is_what_the_documentation_says() {
        assert_eq!(encode_request(&Request::Status), b"{\"do\":\"status\"}\n");
        assert_eq!(
            encode_request(&Request::Reload { dry_run: false }),
            b"{\"do\":\"reload\",\"dry_run\":false}\n"
        );
        assert_eq!(
            encode_response(&Response::Error(Refusal::new(Kind::Failed, "x"))),
            b"{\"error\":{\"kind\":\"failed\",\"message\":\"x\"}}\n"
        );
    }

    #[test]
    fn optional_fields_may_be_left_out() {
        assert_eq!(decode_request(b"{\"do\":\"reload\"}"), Ok(Request::Reload { dry_run: false }));
        assert_eq!(decode_request(b"{\"do\":\"connect\"}"), Ok(Request::Connect { peer: None }));
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_remedy() {
        for line in [
            &b""[..],
            b"{}",
            b"status",
            b"{\"do\":\"fly\"}",
            b"{\"do\":\"reload\",\"dry\":true}",
            b"{\"do\":\"status\"} {\"do\":\"status\"}",
            b"\xff\xfe",
        ] {
            let refusal = decode_request(line).unwrap_err();
            assert_eq!(refusal.kind, Kind::BadRequest);
            assert!(refusal.message.contains("restart the daemon"), "{refusal}");
        }
        let long = vec![b' '; MAX_REQUEST + 1];
        assert!(decode_request(&long).unwrap_err().message.contains("longer than"));
    }

    #[test]
    fn responses_round_trip() {
        for response in [
            Response::Status(Status::default()),
            Response::Reload(ReloadReport {
                applied: true,
                changes: vec![ReloadChange { what: "mtu".into(), effect: Effect::Restart }],
                warnings: vec!["f:1:2: warning: w".into()],
            }),
            Response::Stopping(Stopping { name: "stadium0".into(), pid: 7 }),
            Response::Connecting { started: 2 },
            Response::Pong(Pong { id: 1, rtt_ms: None, reason: Some("no session".into()) }),
            Response::Error(Refusal::new(Kind::UnknownPeer, "no peer x")),
        ] {
            let line = encode_response(&response);
            assert_eq!(decode_response::<Response>(&line).unwrap(), response);
        }
    }
}
