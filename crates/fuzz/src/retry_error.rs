//! RETRY and ERROR (`protocol.md` §2, §3, §5): views re-assemble to the same bytes, what is built
//! opens to what went in, and nothing else opens.

use stadium_proto::{
    handshake::{Retry, RetryKey, StatusCode, build_error, build_retry},
    wire::{self, ErrorView, RequestView, RetryView},
};

use crate::{
    input::Input,
    rogue::{self, Scenario, VARIANTS},
};

/// Checks one input: choices, then a datagram or what one is built from.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let scenario = rogue::scenario(VARIANTS[usize::from(input.choice(6))]);
    match input.choice(3) {
        0 => raw(scenario, input.rest()),
        1 => retry(scenario, input),
        _ => error(scenario, input),
    }
}

fn raw(scenario: &Scenario, datagram: &[u8]) {
    if let Ok(view) = RetryView::parse(datagram) {
        assert_eq!(wire::retry(view.index_i(), view.nonce(), view.sealed())[..], *datagram);
    }
    assert!(scenario.initiator.open_retry(datagram).is_err(), "a forged RETRY opens");
    if let Ok(view) = ErrorView::parse(datagram) {
        let again = wire::error(view.code(), view.max_version(), view.index_i(), view.echo());
        assert_eq!(again[..], *datagram);
        // an ERROR is no secret: who sees the mac can echo it
        let echoes = view.echo() == scenario.initiator.mac();
        assert!(echoes || scenario.initiator.open_error(datagram).is_err());
    } else {
        assert!(scenario.initiator.open_error(datagram).is_err());
    }
}

fn retry(scenario: &Scenario, mut input: Input<'_>) {
    let variant = scenario.variant;
    let v_r = variant.is_encrypted().then(|| rogue::responder().public());
    let key = RetryKey::new(v_r, variant.network_key().as_ref());
    let (at, bit) = (usize::from(input.byte()), input.choice(8));
    let retry = Retry {
        cookie: input.array(),
        challenge: Some(input.array()).filter(|challenge| *challenge != [0; 12]),
    };
    let nonce = input.array();
    let view = RequestView::parse(&scenario.request).expect("a started REQUEST is one");
    let mut datagram = build_retry(&key, &view, &retry, &nonce);
    let opened = scenario.initiator.open_retry(&datagram).expect("what is built opens");
    assert_eq!((opened.cookie, opened.challenge), (retry.cookie, retry.challenge));

    datagram[at % wire::RETRY_LEN] ^= 1 << bit;
    assert!(scenario.initiator.open_retry(&datagram).is_err(), "a changed RETRY opens");
    let stranger = RetryKey::new(Some(rogue::initiator().public()), None);
    let datagram = build_retry(&stranger, &view, &retry, &nonce);
    assert!(scenario.initiator.open_retry(&datagram).is_err(), "a RETRY of another node opens");
}

fn error(scenario: &Scenario, mut input: Input<'_>) {
    let (code, max_version) = (input.byte(), input.byte());
    let (change, bit) = (input.byte(), input.choice(8));
    let mut echo = *scenario.initiator.mac();
    if change < 16 {
        echo[usize::from(change)] ^= 1 << bit;
    }
    let encrypted = scenario.variant.is_encrypted();
    let datagram = wire::error(code, max_version, rogue::INDEX_I, &echo);
    let taken = encrypted && matches!(code, 1 | 2) && change >= 16;
    match scenario.initiator.open_error(&datagram) {
        Ok(hint) => {
            assert!(taken);
            assert_eq!((hint.code, hint.max_version), (StatusCode(code), max_version));
        }
        Err(_) => assert!(!taken),
    }
    let view = RequestView::parse(&scenario.request).expect("a started REQUEST is one");
    let built = build_error(&view, StatusCode(code));
    assert_eq!(built.is_some(), encrypted && matches!(code, 1 | 2));
    if let Some(built) = built {
        let hint = scenario.initiator.open_error(&built).expect("what is built opens");
        assert_eq!((hint.code.0, hint.max_version), (code, 1));
    }
}
