//! The verbs that talk to a daemon, against a pretended one and against none.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use stadium_node::api::{
    Drops, EVENT_SCHEMA, Effect, Event, InterfaceStatus, Kind, LastError, NoiseStatus, Offload,
    PeerState, PeerStatus, Pong, Received, Refusal, ReloadChange, ReloadReport, Request, Response,
    Sent, Status, Stopping, What,
};

use crate::support::{Daemon, Folder, argument, stadium};

const NOTHING: &str = "{\"schema\":1,\"interfaces\":[]}\n";

fn peer(name: &str, state: PeerState) -> PeerStatus {
    PeerStatus {
        name: Some(name.to_owned()),
        public_key: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned(),
        endpoint: Some("192.0.2.7:51871".parse().unwrap()),
        allowed_ips: vec!["10.7.0.2/32".parse().unwrap()],
        state,
        last_error: None,
        session: None,
        handshakes: 0,
        last_handshake: None,
        last_received: None,
        rx: Received::default(),
        tx: Sent::default(),
        rtt_ms: None,
        noise: NoiseStatus::default(),
    }
}

fn status(peers: Vec<PeerStatus>) -> Response {
    Response::Status(Status::new(vec![InterfaceStatus {
        name: "test0".to_owned(),
        public_key: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned(),
        listen: vec!["0.0.0.0:51871".parse().unwrap()],
        mtu: 1420,
        workers: 1,
        offload: Offload::default(),
        uptime_s: 1.0,
        drops: Drops::default(),
        peers,
    }]))
}

/// A peer file whose daemon does not run; `left`: it left its socket behind.
fn nobody(folder: &Folder, left: bool) -> String {
    if left {
        drop(UnixListener::bind(folder.path("none0.sock")).unwrap());
    }
    let key = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    let text = format!("interface: {{private_key: {key}}}\ncontrol: {{socket: none0.sock}}\n");
    folder.write("none0.yaml", &text)
}

#[test]
fn without_a_daemon_status_is_an_empty_list() {
    let folder = Folder::new();
    for left in [false, true] {
        let iface = nobody(&folder, left);
        let json = stadium(&["status", &iface, "--json"]);
        assert_eq!((json.code, json.stdout.as_str()), (0, NOTHING));
        let people = stadium(&["status", &iface]);
        assert_eq!((people.code, people.stdout.as_str()), (0, ""));
        assert!(people.stderr.contains("no interface is running"), "{}", people.stderr);
    }
    let unknown = stadium(&["status", "none-such-0", "--json"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (0, NOTHING));
}

#[test]
fn without_a_daemon_the_other_verbs_end_with_3() {
    let folder = Folder::new();
    let iface = nobody(&folder, false);
    for arguments in [
        &["reload", &*iface][..],
        &["reload", "--diff", &*iface],
        &["ping", &*iface, "bob"],
        &["wait", &*iface, "--timeout", "100ms"],
        &["down", &*iface],
        &["down", "none-such-0"],
    ] {
        let ended = stadium(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{arguments:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn down_clears_a_socket_that_was_left() {
    let folder = Folder::new();
    let iface = nobody(&folder, true);
    let first = stadium(&["down", &iface]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(!folder.path("none0.sock").exists());
    assert_eq!(stadium(&["down", &iface]).code, 3);
}

#[test]
fn status_prints_what_the_daemon_says() {
    let daemon = Daemon::start(|_| Some(status(vec![peer("bob", PeerState::Idle)])));
    let people = stadium(&["status", &daemon.iface]);
    assert_eq!((people.code, people.stderr.as_str()), (0, ""));
    assert!(people.stdout.starts_with("interface test0\n"), "{}", people.stdout);
    assert!(people.stdout.contains("bob"), "{}", people.stdout);
    assert!(!people.stdout.contains('\x1b'), "colour without a terminal");
    assert_eq!(daemon.requests(), [Request::Status]);

    let daemon = Daemon::start(|_| Some(status(vec![peer("bob", PeerState::Idle)])));
    let json = stadium(&["status", &daemon.iface, "--json"]);
    assert_eq!(json.stdout.lines().count(), 1);
    let parsed: Status = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(Response::Status(parsed), status(vec![peer("bob", PeerState::Idle)]));
    daemon.requests();
}

#[test]
fn an_answer_that_is_none_is_a_failure_with_a_remedy() {
    let daemon = Daemon::start(|_| Some(Response::Connecting { started: 1 }));
    let ended = stadium(&["status", &daemon.iface, "--json"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("another version"), "{}", ended.stderr);
    daemon.requests();
}

#[test]
fn reload_says_what_each_change_takes() {
    for (diff, arguments) in [(false, &[][..]), (true, &["--diff"][..])] {
        let daemon = Daemon::start(move |_| {
            Some(Response::Reload(ReloadReport {
                applied: !diff,
                changes: vec![
                    ReloadChange { what: "peer bob: heartbeat".into(), effect: Effect::Live },
                    ReloadChange { what: "interface: workers".into(), effect: Effect::Restart },
                ],
                warnings: vec!["f:1:1: warning: w".into()],
            }))
        });
        let ended = stadium(&[&["reload", &*daemon.iface][..], arguments].concat());
        assert_eq!(ended.code, 0);
        assert_eq!(
            ended.stdout,
            "live          peer bob: heartbeat\nrestart       interface: workers\n"
        );
        assert!(ended.stderr.starts_with("f:1:1: warning: w\n"), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("stadium down"), !diff);
        assert_eq!(daemon.requests(), [Request::Reload { dry_run: diff }]);
    }
}

#[test]
fn reload_of_a_bad_file_ends_with_2_and_shows_its_lines() {
    let lines = "f.yaml:1:2: error: bad; better\nf.yaml:3:4: error: worse; well";
    let daemon =
        Daemon::start(move |_| Some(Response::Error(Refusal::new(Kind::InvalidFile, lines))));
    let ended = stadium(&["reload", &daemon.iface]);
    assert_eq!((ended.code, ended.stderr), (2, format!("{lines}\n")));
    daemon.requests();
}

#[test]
fn wait_starts_handshakes_and_ends_when_peers_are_up() {
    let mut asked = 0;
    let daemon = Daemon::start(move |request| {
        Some(match request {
            Request::Status => {
                asked += 1;
                let state = if asked < 3 { PeerState::Idle } else { PeerState::Up };
                status(vec![peer("bob", state)])
            }
            _ => Response::Connecting { started: 1 },
        })
    });
    let ended = stadium(&["wait", &daemon.iface, "--peer", "bob", "--timeout", "20s"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let requests = daemon.requests();
    let connects = requests.iter().filter(|r| matches!(r, Request::Connect { .. })).count();
    assert_eq!((requests.len() - connects, connects), (3, 1));
}

#[test]
fn wait_ends_with_1_and_the_reason_when_time_is_over() {
    let daemon = Daemon::start(|request| {
        Some(match request {
            Request::Status => status(vec![
                peer("ann", PeerState::Up),
                PeerStatus {
                    last_error: Some(LastError::UnknownPeer),
                    ..peer("bob", PeerState::Handshaking)
                },
            ]),
            other => panic!("a handshake that is under way is not started again: {other:?}"),
        })
    });
    let ended = stadium(&["wait", &daemon.iface, "--timeout", "200ms"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("bob (handshaking: unknown peer)"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ann"), "{}", ended.stderr);
    daemon.requests();
}

#[test]
fn wait_for_a_peer_that_is_not_configured_is_wrong_usage() {
    let daemon = Daemon::start(|_| Some(status(vec![peer("bob", PeerState::Idle)])));
    let ended = stadium(&["wait", &daemon.iface, "--peer", "eve"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("its peers are bob"), "{}", ended.stderr);
    daemon.requests();
}

#[test]
fn ping_reports_each_round_trip_and_all_of_them() {
    let daemon = Daemon::start(|request| match request {
        Request::Ping { id, .. } => {
            let rtt_ms = (*id != 2).then_some(0.5);
            Some(Response::Pong(Pong { id: *id, rtt_ms, reason: None }))
        }
        _ => None,
    });
    let ended = stadium(&["ping", &daemon.iface, "bob", "-c", "3", "-i", "1ms", "-W", "2s"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout.matches("answer from bob: seq=").count(), 3, "{}", ended.stdout);
    assert!(ended.stdout.contains("3 sent, 2 answered, 33% lost"), "{}", ended.stdout);
    let requests = daemon.requests();
    assert_eq!(requests[0], Request::Ping { peer: "bob".into(), id: 1, timeout_ms: 2000 });
}

#[test]
fn ping_without_any_answer_ends_with_1_and_an_unknown_peer_with_2() {
    let daemon = Daemon::start(|request| match request {
        Request::Ping { id, .. } => {
            let reason = Some("no session".to_owned());
            Some(Response::Pong(Pong { id: *id, rtt_ms: None, reason }))
        }
        _ => None,
    });
    let ended = stadium(&["ping", &daemon.iface, "bob", "-c", "1"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stdout.contains("no session"), "{}", ended.stdout);
    daemon.requests();

    let daemon =
        Daemon::start(|_| Some(Response::Error(Refusal::new(Kind::UnknownPeer, "no peer eve"))));
    let ended = stadium(&["ping", &daemon.iface, "eve", "-c", "1"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("no peer eve"), "{}", ended.stderr);
    daemon.requests();
}

#[test]
fn an_interrupted_ping_still_sums_up() {
    let daemon = Daemon::start(|request| match request {
        Request::Ping { id, .. } => {
            Some(Response::Pong(Pong { id: *id, rtt_ms: Some(1.0), reason: None }))
        }
        _ => None,
    });
    let mut ping = Command::new(env!("CARGO_BIN_EXE_stadium"))
        .args(["ping", &daemon.iface, "bob", "-c", "0", "-i", "60s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(ping.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("answer from bob: seq=1"));
    let process = rustix::process::Pid::from_child(&ping);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert!(lines.next().unwrap().unwrap().contains("1 sent, 1 answered"));
    assert_eq!(ping.wait().unwrap().code(), Some(0));
    daemon.requests();
}

#[test]
fn down_returns_only_when_the_daemon_has_ended() {
    // another process listens: what `down` waits for is its end
    let folder = Folder::new();
    let iface = folder.write("test0.yaml", "control: {socket: test0.sock}\n");
    let ended_mark = folder.path("ended");
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "daemon::pretended_daemon_process", "--ignored", "--nocapture"])
        .env("STADIUM_TEST_FOLDER", argument(&folder.path("")))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !folder.path("test0.sock").exists() {
        assert!(daemon.try_wait().unwrap().is_none(), "the pretended daemon ended early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let down = stadium(&["down", &iface]);
    assert_eq!(down.code, 0, "{}", down.stderr);
    assert!(ended_mark.exists(), "returned before the daemon had ended");
    daemon.wait().unwrap();
}

/// No test by itself: the process that the test above ends.
#[test]
#[ignore = "started by another test as a process of its own"]
fn pretended_daemon_process() {
    let Some(folder) = std::env::var_os("STADIUM_TEST_FOLDER") else { return };
    let folder = std::path::PathBuf::from(folder);
    let listener = UnixListener::bind(folder.join("test0.sock")).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut line = Vec::new();
    BufReader::new(&stream).read_until(b'\n', &mut line).unwrap();
    assert_eq!(stadium_node::api::decode_request(&line), Ok(Request::Down));
    let stopping = Response::Stopping(Stopping { name: "test0".into(), pid: 1 });
    stream.write_all(&stadium_node::api::encode_response(&stopping)).unwrap();
    drop(stream);
    std::fs::remove_file(folder.join("test0.sock")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    std::fs::write(folder.join("ended"), "").unwrap();
}

#[test]
fn probes_end_with_a_code_and_print_nothing() {
    for (state, live, ready) in [
        (PeerState::Up, 0, 0),
        (PeerState::Idle, 0, 0),
        (PeerState::Handshaking, 0, 1),
        (PeerState::Down, 0, 1),
    ] {
        for (probe, code) in [("live", live), ("ready", ready)] {
            let daemon = Daemon::start(move |_| Some(status(vec![peer("bob", state)])));
            let ended = stadium(&["status", &daemon.iface, "--check", probe]);
            assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{probe} {state}");
            daemon.requests();
        }
    }
    let folder = Folder::new();
    let iface = nobody(&folder, false);
    assert_eq!(stadium(&["status", &iface, "--check", "live"]).code, 3);
    assert_eq!(stadium(&["status", "--check", "live"]).code, 2, "it needs an interface");
}

#[test]
fn events_are_lines_until_the_daemon_ends() {
    let event = Event {
        schema: EVENT_SCHEMA,
        time: jiff::Timestamp::UNIX_EPOCH,
        interface: "test0".to_owned(),
        peer: None,
        what: What::Subscribed,
    };
    let text = serde_json::to_string(&event).unwrap() + "\n";
    let daemon = {
        let mut told = Some(Response::Event(Box::new(event)));
        Daemon::start_and_hang_up(move |_| told.take())
    };
    let ended = stadium(&["status", &daemon.iface, "--events"]);
    assert_eq!((ended.code, ended.stdout), (0, text), "{}", ended.stderr);
    assert_eq!(daemon.requests(), [Request::Events]);
}
