//! Links between real UDP sockets.
//!
//! A relay listens at one address and forwards to one upstream. Each client address has a socket
//! of its own towards the upstream and links of its own in both directions, as behind an address
//! translator: the upstream tells clients apart, and answers find their way back.
//!
//! Sockets receive without UDP GRO, so datagrams that were sent as one GSO run arrive one by one,
//! and each has its own fate.

mod client;
mod record;
mod schedule;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io::{self, Read, Write},
    net::{SocketAddr, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use self::schedule::{Schedule, ScheduleError, Step};
use self::{
    client::Client,
    record::{Record, Seen},
};
use crate::{
    dice::Dice,
    link::{Delivery, Impairments, LinkCounters, nanos},
};

/// Names a direction of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the clients to the upstream.
    Forward,
    /// From the upstream to the clients.
    Backward,
}

/// How a relay is set up.
pub struct RelayConfig {
    /// Where clients send to; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where datagrams are forwarded to.
    pub upstream: SocketAddr,
    /// What decides the fate of datagrams.
    pub seed: u64,
    /// The impairments towards the upstream, to begin with.
    pub forward: Impairments,
    /// The impairments towards the clients, to begin with.
    pub backward: Impairments,
    /// What changes when.
    pub schedule: Schedule,
    /// Takes a line of CSV (`time_ns,direction,event,client,length`) for each datagram that comes
    /// in or goes out.
    pub record: Option<Box<dyn Write + Send>>,
    /// After how long without datagrams a client is forgotten; its next one comes from a new port.
    pub client_idle: Duration,
    /// How many clients are served at a time; datagrams of more are dropped.
    pub max_clients: usize,
}

impl RelayConfig {
    /// Describes a perfect relay.
    pub fn new(listen: SocketAddr, upstream: SocketAddr) -> Self {
        Self {
            listen,
            upstream,
            seed: 0,
            forward: Impairments::NONE,
            backward: Impairments::NONE,
            schedule: Schedule::default(),
            record: None,
            client_idle: Duration::from_secs(300),
            max_clients: 1024,
        }
    }
}

/// What a relay has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// The sum of all links towards the upstream.
    pub forward: LinkCounters,
    /// The sum of all links towards the clients.
    pub backward: LinkCounters,
    /// Clients seen; one that comes back after having been forgotten counts again.
    pub clients: u64,
    /// Datagrams of clients beyond the greatest number.
    pub refused_clients: u64,
    /// Datagrams that a socket would not send, or that were ready for a client already forgotten.
    pub unsent: u64,
    /// Errors that a socket reported when read, such as an upstream that refuses.
    pub receive_errors: u64,
}

/// A relay that is bound and not running yet.
pub struct Relay {
    listen: UdpSocket,
    upstream: SocketAddr,
    impairments: [Impairments; 2],
    up: [bool; 2],
    schedule: Schedule,
    record: Record,
    client_idle: u64,
    max_clients: usize,
    dice: Dice,
    clients: BTreeMap<u64, Client>,
    numbers: BTreeMap<SocketAddr, u64>,
    pending: BinaryHeap<Reverse<Pending>>,
    order: u64,
    /// What the links of forgotten clients did, and all that is not a link's.
    totals: RelayCounters,
    published: Arc<Mutex<RelayCounters>>,
    started: Instant,
    next_sweep: u64,
    commands: mpsc::Receiver<Step>,
    command_sender: mpsc::Sender<Step>,
    wake: (UnixStream, UnixStream),
    stop: (UnixStream, UnixStream),
    deliveries: Vec<Delivery>,
    buffer: Box<[u8]>,
}

/// A datagram under way, ordered by its time and then by its order of departure.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    at: u64,
    order: u64,
    client: u64,
    direction: Direction,
    bytes: Vec<u8>,
}

impl Relay {
    /// Binds a relay's listening socket.
    ///
    /// # Errors
    ///
    /// When the socket cannot be bound, the two addresses are of different families, or the record
    /// cannot be written.
    pub fn bind(config: RelayConfig) -> io::Result<Self> {
        let RelayConfig { listen, upstream, seed, forward, backward, schedule, .. } = config;
        if listen.is_ipv4() != upstream.is_ipv4() {
            let what = format!("{listen} and {upstream} are of different families: use one");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let (command_sender, commands) = mpsc::channel();
        Ok(Self {
            listen: client::open(listen)?,
            upstream,
            impairments: [forward, backward],
            up: [true; 2],
            schedule,
            record: Record::new(config.record)?,
            client_idle: nanos(config.client_idle),
            max_clients: config.max_clients,
            dice: Dice::new(seed),
            clients: BTreeMap::new(),
            numbers: BTreeMap::new(),
            pending: BinaryHeap::new(),
            order: 0,
            totals: RelayCounters::default(),
            published: Arc::default(),
            started: Instant::now(),
            next_sweep: 0,
            commands,
            command_sender,
            wake: pipe()?,
            stop: pipe()?,
            deliveries: Vec::new(),
            buffer: vec![0; LARGEST_DATAGRAM].into(),
        })
    }

    /// Tells where the relay listens.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listen.local_addr()
    }

    /// Gives a descriptor that stops the relay once anything is written to it, for signal handlers.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn stop_descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.stop.1.try_clone()?.into())
    }

    /// Relays until stopped, and tells what was done.
    ///
    /// # Errors
    ///
    /// When polling fails, or the record cannot be written.
    pub fn run(mut self) -> io::Result<RelayCounters> {
        self.started = Instant::now();
        loop {
            let now = self.now();
            self.follow_schedule(now)?;
            self.release(now)?;
            self.send_due(now)?;
            self.sweep(now)?;
            self.publish();
            let (stop, ready) = self.wait(now)?;
            if stop {
                break;
            }
            self.obey()?;
            self.receive(&ready)?;
        }
        self.record.flush()?;
        self.publish();
        Ok(*lock(&self.published))
    }

    /// Relays on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started, or descriptors run out.
    pub fn spawn(self) -> io::Result<RelayHandle> {
        let address = self.local_addr()?;
        let (published, commands) = (self.published.clone(), self.command_sender.clone());
        let (wake, stop) = (self.wake.1.try_clone()?, self.stop.1.try_clone()?);
        let thread = std::thread::Builder::new().name("relay".into()).spawn(|| self.run())?;
        Ok(RelayHandle { address, published, commands, wake, stop, thread: Some(thread) })
    }

    fn now(&self) -> u64 {
        nanos(self.started.elapsed())
    }

    fn follow_schedule(&mut self, now: u64) -> io::Result<()> {
        // bounded, should the machine have slept through many rounds
        for _ in 0..STEPS_PER_WAKE_UP {
            let Some(step) = self.schedule.take_due(now) else { break };
            self.apply(step)?;
        }
        Ok(())
    }

    fn obey(&mut self) -> io::Result<()> {
        while let Ok(step) = self.commands.try_recv() {
            self.apply(step)?;
        }
        Ok(())
    }

    fn apply(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Impair(directions, settings) => {
                for direction in directions {
                    let impairments = &mut self.impairments[direction as usize];
                    settings.iter().for_each(|setting| setting.apply(impairments));
                    for client in self.clients.values_mut() {
                        client.link(direction).set_impairments(*impairments);
                    }
                }
            }
            Step::SetUp(directions, up) => {
                for direction in directions {
                    self.up[direction as usize] = up;
                    for client in self.clients.values_mut() {
                        client.link(direction).set_up(up);
                    }
                }
            }
            Step::Roam => {
                for client in self.clients.values_mut() {
                    client.rebind(self.upstream)?;
                }
            }
        }
        Ok(())
    }

    /// Lets links go of datagrams that they held back long enough.
    fn release(&mut self, now: u64) -> io::Result<()> {
        for client in self.clients.values_mut() {
            for direction in BOTH {
                client.link(direction).release(now, &mut self.deliveries);
                let ready = self.deliveries.drain(..);
                self.pending.extend(ready.map(|delivery| {
                    Reverse(pending(delivery, client.number, direction, &mut self.order))
                }));
            }
        }
        Ok(())
    }

    fn send_due(&mut self, now: u64) -> io::Result<()> {
        while self.pending.peek().is_some_and(|Reverse(first)| first.at <= now) {
            let Some(Reverse(Pending { client: number, direction, bytes, .. })) =
                self.pending.pop()
            else {
                break;
            };
            let Some(client) = self.clients.get(&number) else {
                self.totals.unsent += 1;
                continue;
            };
            let sent = match direction {
                Direction::Forward => client.socket.send(&bytes),
                Direction::Backward => self.listen.send_to(&bytes, client.address),
            };
            if sent.is_err() {
                self.totals.unsent += 1;
                continue;
            }
            self.record.line(now, direction, Seen::Out, number, bytes.len())?;
        }
        Ok(())
    }

    /// Forgets idle clients, and writes out the record, about once a second.
    fn sweep(&mut self, now: u64) -> io::Result<()> {
        if now < self.next_sweep {
            return Ok(());
        }
        self.next_sweep = now + SWEEP_INTERVAL.min(self.client_idle.max(MIN_SWEEP_INTERVAL));
        let idle = self.client_idle;
        let forgotten: Vec<_> = self
            .clients
            .values()
            .filter(|c| now.saturating_sub(c.last_used) >= idle)
            .map(|c| c.number)
            .collect();
        for number in forgotten {
            let Some(mut client) = self.clients.remove(&number) else { continue };
            self.numbers.remove(&client.address);
            self.totals.forward.add(client.link(Direction::Forward).counters());
            self.totals.backward.add(client.link(Direction::Backward).counters());
        }
        self.record.flush()
    }

    fn publish(&mut self) {
        let mut counters = self.totals;
        for client in self.clients.values_mut() {
            counters.forward.add(client.link(Direction::Forward).counters());
            counters.backward.add(client.link(Direction::Backward).counters());
        }
        *lock(&self.published) = counters;
    }

    /// Waits for datagrams, commands, the end, or the next time something is due.
    ///
    /// Says whether to stop, and whose sockets are readable: `None` for the listening one.
    fn wait(&mut self, now: u64) -> io::Result<(bool, Vec<Option<u64>>)> {
        let due = [
            self.pending.peek().map(|Reverse(first)| first.at),
            self.clients.values_mut().filter_map(Client::next_release).min(),
            self.schedule.next_due(),
            Some(self.next_sweep),
        ];
        let due = due.into_iter().flatten().min().unwrap_or(now);
        let timeout = Timespec::try_from(Duration::from_nanos(due.saturating_sub(now)))
            .map_err(io::Error::other)?;
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = vec![
            readable(self.stop.0.as_fd()),
            readable(self.wake.0.as_fd()),
            readable(self.listen.as_fd()),
        ];
        fds.extend(self.clients.values().map(|client| readable(client.socket.as_fd())));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let owners = std::iter::once(None).chain(self.clients.keys().copied().map(Some));
        let ready = owners.zip(&fds[2..]).filter(|(_, fd)| is_ready(fd)).map(|(n, _)| n).collect();
        let (stop, wake) = (is_ready(&fds[0]), is_ready(&fds[1]));
        if wake {
            // however many commands woke the relay, they are all obeyed next
            let _ = (&self.wake.0).read(&mut [0; 64])?;
        }
        Ok((stop, ready))
    }

    fn receive(&mut self, ready: &[Option<u64>]) -> io::Result<()> {
        for source in ready {
            for _ in 0..DATAGRAMS_PER_WAKE_UP {
                let received = match source {
                    None => self.listen.recv_from(&mut self.buffer).map(|(len, from)| {
                        (len, self.numbers.get(&from).copied().ok_or(from), Direction::Forward)
                    }),
                    Some(number) => match self.clients.get(number) {
                        Some(client) => client
                            .socket
                            .recv(&mut self.buffer)
                            .map(|len| (len, Ok(*number), Direction::Backward)),
                        None => break,
                    },
                };
                let (len, number, direction) = match received {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.totals.receive_errors += 1;
                        continue;
                    }
                };
                let number = match number {
                    Ok(number) => number,
                    Err(from) => match self.welcome(from) {
                        Some(number) => number,
                        None => continue,
                    },
                };
                self.take(number, direction, len)?;
            }
        }
        Ok(())
    }

    /// Makes a client for an address that was not seen before.
    fn welcome(&mut self, address: SocketAddr) -> Option<u64> {
        if self.clients.len() >= self.max_clients {
            self.totals.refused_clients += 1;
            return None;
        }
        let dice = (self.dice.fork(), self.dice.fork());
        let number = self.totals.clients;
        let Ok(mut client) = Client::new(number, address, self.upstream, self.impairments, dice)
        else {
            // no descriptor or no route: as good as a full table
            self.totals.refused_clients += 1;
            return None;
        };
        BOTH.into_iter().for_each(|d| client.link(d).set_up(self.up[d as usize]));
        self.totals.clients += 1;
        self.clients.insert(number, client);
        self.numbers.insert(address, number);
        Some(number)
    }

    /// Puts the datagram in the buffer into a client's link.
    fn take(&mut self, number: u64, direction: Direction, len: usize) -> io::Result<()> {
        let now = self.now();
        self.record.line(now, direction, Seen::In, number, len)?;
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        client.last_used = now;
        let bytes = self.buffer[..len].to_vec();
        client.link(direction).transmit(now, bytes, &mut self.deliveries);
        for delivery in self.deliveries.drain(..) {
            self.pending.push(Reverse(pending(delivery, number, direction, &mut self.order)));
        }
        Ok(())
    }
}

/// A relay that runs on a thread of its own; it stops when this is dropped.
pub struct RelayHandle {
    address: SocketAddr,
    published: Arc<Mutex<RelayCounters>>,
    commands: mpsc::Sender<Step>,
    wake: UnixStream,
    stop: UnixStream,
    thread: Option<JoinHandle<io::Result<RelayCounters>>>,
}

impl RelayHandle {
    /// Tells where the relay listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells what the relay has done by its latest wake-up.
    pub fn counters(&self) -> RelayCounters {
        *lock(&self.published)
    }

    /// Does at once what a schedule could do later.
    pub fn apply(&mut self, step: Step) {
        if self.commands.send(step).is_ok() {
            // a full pipe wakes it too
            let _ = self.wake.write(&[1]);
        }
    }

    /// Stops the relay and tells what it did; datagrams under way are lost.
    ///
    /// # Errors
    ///
    /// What [`Relay::run`] ended with.
    ///
    /// # Panics
    ///
    /// When the relay's thread panicked.
    pub fn stop(mut self) -> io::Result<RelayCounters> {
        let thread = self.thread.take().expect("it is taken only here and when dropped");
        // the other end is open: the thread owns it, or has ended
        let _ = self.stop.write(&[1]);
        thread.join().expect("the relay's thread does not panic")
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.stop.write(&[1]);
            let _ = thread.join();
        }
    }
}

fn pending(delivery: Delivery, client: u64, direction: Direction, order: &mut u64) -> Pending {
    *order += 1;
    Pending { at: delivery.at, order: *order, client, direction, bytes: delivery.bytes }
}

fn pipe() -> io::Result<(UnixStream, UnixStream)> {
    let pipe = UnixStream::pair()?;
    pipe.0.set_nonblocking(true)?;
    pipe.1.set_nonblocking(true)?;
    Ok(pipe)
}

fn lock(counters: &Mutex<RelayCounters>) -> MutexGuard<'_, RelayCounters> {
    // counters are replaced whole, so that a poisoned lock still holds good ones
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

const BOTH: [Direction; 2] = [Direction::Forward, Direction::Backward];
/// The largest UDP payload.
const LARGEST_DATAGRAM: usize = 65_535;
/// Datagrams taken from one socket before the others have their turn.
const DATAGRAMS_PER_WAKE_UP: usize = 64;
const STEPS_PER_WAKE_UP: usize = 64;
const SWEEP_INTERVAL: u64 = 1_000_000_000;
const MIN_SWEEP_INTERVAL: u64 = 1_000_000;
