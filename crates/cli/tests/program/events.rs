//! The published schema of events holds for every event, and the dashboard asks for what there is.

use serde_json::Value;
use stadium_node::api::{EVENT_SCHEMA, Event, EventPeer, LastError, What};

fn event(what: What, peer: bool) -> Value {
    let peer = peer.then(|| EventPeer { name: None, public_key: "KEY=".to_owned() });
    let time = jiff::Timestamp::UNIX_EPOCH;
    let interface = "stadium0".to_owned();
    serde_json::to_value(Event { schema: EVENT_SCHEMA, time, interface, peer, what }).unwrap()
}

#[test]
fn every_event_is_valid_and_others_are_not() {
    let schema: Value =
        serde_json::from_str(include_str!("../../schema/event.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let endpoint = "[2001:db8::1]:7".parse().unwrap();
    for (what, peer) in [
        (What::Subscribed, false),
        (What::HandshakeStarted { attempt: 1 }, true),
        (What::HandshakeFailed { error: LastError::KeyMismatch }, true),
        (What::GaveUp, true),
        (What::SessionUp { session: 7, initiator: true }, true),
        (What::SessionEnded, true),
        (What::PeerClosed { reason: "idle".to_owned() }, true),
        (What::EndpointMoved { endpoint }, true),
        (What::Reloaded { changes: 2 }, false),
        (What::Stopping, false),
        (What::Missed { events: 3 }, false),
    ] {
        let mut event = event(what, peer);
        assert!(validator.is_valid(&event), "{event}");
        event["event"] = "flown".into();
        assert!(!validator.is_valid(&event), "{event}");
    }
    let mut short = event(What::SessionUp { session: 7, initiator: true }, true);
    short.as_object_mut().unwrap().remove("session");
    assert!(!validator.is_valid(&short));
}

#[test]
fn the_dashboard_asks_for_documented_metrics_only() {
    let dashboard: Value = serde_json::from_str(include_str!("../../share/grafana.json")).unwrap();
    let documented = include_str!("../../docs/status.md");
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let start = expression.find("stadium_").unwrap();
            let name = expression[start..].split(['{', ' ', '[']).next().unwrap();
            let stem = name.split("_noise").next().unwrap().trim_end_matches("_bytes_total");
            assert!(documented.contains(stem), "{name}");
            asked += 1;
        }
    }
    assert!(asked >= 8);
}
