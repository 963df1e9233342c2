//! The relay between real sockets on loopback, as a library and as a program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use stadium_netsim::{
    link::Impairments,
    relay::{Direction, Relay, RelayConfig, RelayHandle, Step},
};

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// A client that sends to the relay, the upstream, and the relay between them.
fn start(change: impl FnOnce(&mut RelayConfig)) -> (UdpSocket, UdpSocket, RelayHandle) {
    let upstream = socket();
    let mut config =
        RelayConfig::new("127.0.0.1:0".parse().unwrap(), upstream.local_addr().unwrap());
    change(&mut config);
    let relay = Relay::bind(config).unwrap().spawn().unwrap();
    let client = socket();
    client.connect(relay.address()).unwrap();
    (client, upstream, relay)
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_535];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, from)
}

/// Takes what has arrived, until nothing does for a while.
fn drain(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 65_535];
    let mut got = Vec::new();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    while let Ok(len) = socket.recv(&mut buffer) {
        got.push(buffer[..len].to_vec());
    }
    got
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn several_clients_get_their_own_answers() {
    let (first, upstream, relay) = start(|_| {});
    let second = socket();
    second.connect(relay.address()).unwrap();
    first.send(b"from the first").unwrap();
    let (bytes, first_seen) = receive(&upstream);
    assert_eq!(bytes, b"from the first");
    second.send(b"from the second").unwrap();
    let (bytes, second_seen) = receive(&upstream);
    assert_eq!(bytes, b"from the second");
    assert_ne!(first_seen, second_seen);
    upstream.send_to(b"to the second", second_seen).unwrap();
    upstream.send_to(&[], first_seen).unwrap();
    assert_eq!(receive(&second).0, b"to the second");
    assert_eq!(receive(&first).0, b"");
    let counters = relay.stop().unwrap();
    assert_eq!((counters.clients, counters.unsent, counters.receive_errors), (2, 0, 0));
    assert_eq!((counters.forward.delivered, counters.backward.delivered), (2, 2));
    assert_eq!(counters.forward.delivered_bytes, 29);
}

#[test]
fn loss_follows_the_seed() {
    let run = |seed| {
        let (client, upstream, relay) = start(|config| {
            config.seed = seed;
            config.forward = Impairments::lossy(0.5);
        });
        for number in 0..200_u8 {
            client.send(&[number]).unwrap();
        }
        wait_until("all arrived", || relay.counters().forward.sent == 200);
        let got = drain(&upstream);
        let counters = relay.stop().unwrap();
        assert_eq!(got.len() as u64, counters.forward.delivered);
        assert_eq!(200 - counters.forward.lost, counters.forward.delivered);
        got
    };
    let first = run(1);
    assert!((60..140).contains(&first.len()), "{} of 200", first.len());
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn delay_takes_its_time_in_both_directions() {
    let delay = Duration::from_millis(40);
    let (client, upstream, relay) = start(|config| {
        config.forward = Impairments::NONE.with_delay(delay, delay);
        config.backward = config.forward;
    });
    let started = Instant::now();
    client.send(b"there").unwrap();
    let (_, from) = receive(&upstream);
    assert!(started.elapsed() >= delay);
    upstream.send_to(b"and back", from).unwrap();
    receive(&client);
    assert!(started.elapsed() >= 2 * delay && started.elapsed() < Duration::from_secs(2));
    drop(relay);
}

#[test]
fn steps_take_effect_at_once_and_by_schedule() {
    let (client, upstream, mut relay) = start(|config| {
        config.schedule = "0s forward loss=100%\n300ms forward clear".parse().unwrap();
    });
    client.send(b"lost").unwrap();
    wait_until("the loss", || relay.counters().forward.lost == 1);
    std::thread::sleep(Duration::from_millis(400));
    client.send(b"passes").unwrap();
    let (bytes, before) = receive(&upstream);
    assert_eq!(bytes, b"passes");

    relay.apply(Step::Roam);
    relay.apply(Step::SetUp(vec![Direction::Backward], false));
    // commands and datagrams come in through different doors
    std::thread::sleep(Duration::from_millis(50));
    client.send(b"again").unwrap();
    let (_, after) = receive(&upstream);
    assert_ne!(before, after, "the upstream sees a new port");
    upstream.send_to(b"down", after).unwrap();
    wait_until("the drop", || relay.counters().backward.down == 1);
    relay.stop().unwrap();
}

#[test]
fn an_idle_client_is_forgotten_and_the_number_of_clients_is_bounded() {
    let (first, upstream, relay) = start(|config| {
        config.client_idle = Duration::from_millis(100);
        config.max_clients = 1;
    });
    first.send(b"1").unwrap();
    let (_, before) = receive(&upstream);
    let second = socket();
    second.connect(relay.address()).unwrap();
    second.send(b"2").unwrap();
    wait_until("the refusal", || relay.counters().refused_clients == 1);
    std::thread::sleep(Duration::from_millis(400));
    first.send(b"3").unwrap();
    let (bytes, after) = receive(&upstream);
    assert_eq!(bytes, b"3");
    assert_ne!(before, after);
    let counters = relay.stop().unwrap();
    // what the forgotten client did still counts
    assert_eq!((counters.clients, counters.forward.delivered), (2, 2));
}

#[test]
fn a_gso_run_arrives_as_single_datagrams() {
    let (client, upstream, relay) = start(|_| {});
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::UdpGsoSegment, &100).unwrap();
    let run: Vec<u8> = (0..1050).map(|at| (at / 100) as u8).collect();
    client.send(&run).unwrap();
    let want: Vec<_> = run.chunks(100).map(<[u8]>::to_vec).collect();
    let got: Vec<_> = want.iter().map(|_| receive(&upstream).0).collect();
    assert_eq!(got, want);
    assert_eq!(relay.stop().unwrap().forward.sent, 11);
}

#[test]
fn an_upstream_that_refuses_is_counted_and_survived() {
    let gone = socket();
    let address = gone.local_addr().unwrap();
    let (client, _, relay) = start(|config| config.upstream = address);
    drop(gone);
    client.send(b"into the void").unwrap();
    wait_until("the error", || relay.counters().receive_errors >= 1);
    client.send(b"again").unwrap();
    wait_until("the second", || relay.counters().forward.sent == 2);
    relay.stop().unwrap();
}

/// A writer whose content the test can look at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_record_has_a_line_for_what_comes_in_and_what_goes_out() {
    let record = Shared::default();
    let (client, upstream, relay) = start(|config| {
        config.record = Some(Box::new(record.clone()));
        config.backward = Impairments::lossy(1.0);
    });
    client.send(&[7; 70]).unwrap();
    let (_, from) = receive(&upstream);
    upstream.send_to(&[7; 30], from).unwrap();
    wait_until("the loss", || relay.counters().backward.lost == 1);
    relay.stop().unwrap();
    let text = String::from_utf8(record.0.lock().unwrap().clone()).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time_ns,direction,event,client,length"));
    let mut last = 0;
    let rest: Vec<_> = lines
        .map(|line| {
            let (time, rest) = line.split_once(',').unwrap();
            let time: u64 = time.parse().unwrap();
            assert!(time >= last);
            last = time;
            rest
        })
        .collect();
    assert_eq!(rest, ["forward,in,0,70", "forward,out,0,70", "backward,in,0,30"]);
}

#[test]
fn families_must_agree() {
    let config = RelayConfig::new("[::1]:0".parse().unwrap(), "127.0.0.1:9".parse().unwrap());
    let error = Relay::bind(config).err().unwrap().to_string();
    assert!(error.contains("different families"), "{error}");
}

/// The program, killed when dropped.
struct Program(Child, BufReader<std::process::ChildStdout>);

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stadium-relay"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_relays_and_reports_at_sigterm() {
    let folder = std::env::temp_dir().join(format!("stadium-relay-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let record = folder.join("record.csv");
    let upstream = socket();
    let address = upstream.local_addr().unwrap().to_string();
    let mut program = Program::start(&[
        "--listen=127.0.0.1:0",
        &format!("--upstream={address}"),
        "--seed=5",
        "--delay=1ms..2ms",
        "--corrupt=100%",
        "--backward=clear loss=100%",
        &format!("--record={}", record.display()),
    ]);
    let line = program.line();
    let listen = line.strip_prefix("listening on ").and_then(|l| l.split(',').next()).unwrap();
    assert!(line.ends_with(", seed 5\n"), "{line}");
    let client = socket();
    client.connect(listen).unwrap();
    client.send(&[0; 100]).unwrap();
    let (bytes, from) = receive(&upstream);
    assert!(bytes.len() == 100 && bytes != [0; 100]);
    upstream.send_to(b"lost", from).unwrap();
    wait_until("the record", || {
        std::fs::read_to_string(&record).unwrap().contains("backward,in,0,4")
    });
    let pid = nix::unistd::Pid::from_raw(program.0.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut report = String::new();
    program.1.read_to_string(&mut report).unwrap();
    assert!(program.0.wait().unwrap().success());
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(lines.len(), 3, "{report}");
    assert!(lines[0].starts_with("forward received=1 received_bytes=100 delivered=1 "), "{report}");
    assert!(lines[0].contains(" corrupted=1 "), "{report}");
    assert!(lines[1].starts_with("backward received=1 ") && lines[1].contains(" lost=1 "));
    assert_eq!(lines[2], "relay clients=1 refused_clients=0 unsent=0 receive_errors=0");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_program_names_what_is_wrong() {
    let fails = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_stadium-relay"))
            .args(["--listen=127.0.0.1:0", "--upstream=127.0.0.1:9"])
            .args(args)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails(&["--loss=2"]).contains("from 0 to 1"));
    assert!(fails(&["--forward=los=1"]).contains("--forward: `los=1` is not understood"));
    assert!(fails(&["--schedule=/nowhere/file"]).contains("/nowhere/file: No such file"));
    assert!(fails(&["--record=/nowhere/file"]).contains("/nowhere/file: No such file"));
    assert!(fails(&["--client-idle=5"]).contains("as in 20ms"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_not_lost_arrives_unaltered_in_order(
        sizes in proptest::collection::vec(0..1400_usize, 1..50),
        max in 0..3_u64,
        seed: u64,
    ) {
        let (client, upstream, relay) = start(|config| {
            config.seed = seed;
            config.forward =
                Impairments::NONE.with_delay(Duration::ZERO, Duration::from_millis(max));
        });
        for (number, size) in sizes.iter().enumerate() {
            client.send(&vec![number as u8; *size]).unwrap();
        }
        for (number, size) in sizes.iter().enumerate() {
            prop_assert_eq!(receive(&upstream).0, vec![number as u8; *size]);
        }
        drop(relay);
    }
}
