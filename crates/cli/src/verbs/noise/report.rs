//! The judgement of a peer file's noise as data: what `stadium noise --json` prints.

use serde::Serialize;
use stadium_config::{HandshakeKind, Mtu, NoiseSettings, Peer, PeerFile};
use stadium_proto::noise::judge::{self, Judgement, Outcome, Subject};
use stadium_proto::noise::{NoiseByte, NoisePolicy};

/// The version of [`Report`]; it grows by one when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;
/// What is assumed where the file leaves the MTU to the routes.
const ASSUMED_MTU: u16 = 1420;

/// The judgement of a peer file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    /// The peer file.
    pub(super) file: String,
    /// The peer file of the other end.
    pub(super) other_file: Option<String>,
    /// The peers that were judged, in the order of the file.
    pub(super) peers: Vec<PeerReport>,
}

/// The judgement of one peer's settings.
#[derive(Debug, Serialize)]
pub(super) struct PeerReport {
    /// What people call it.
    #[serde(rename = "peer")]
    pub(super) label: String,
    /// What this node asks for.
    pub(super) asked: Byte,
    pub(super) engine: &'static str,
    /// The ceiling, or the rate of engines that have one, in bits a second.
    pub(super) budget_bits: Option<u64>,
    /// Largest frame and filler, in bytes.
    pub(super) payload_limit: u16,
    /// Whether the limit is an assumption: the file leaves the MTU to the routes.
    pub(super) limit_assumed: bool,
    /// What a peer that says nothing of noise makes of it.
    pub(super) default_peer: Agreement,
    /// What the other end makes of it, with its file.
    pub(super) other: Option<BothEnds>,
    /// What is judged: what the ends agree on, or what is asked for.
    pub(super) judged: Byte,
    pub(super) findings: Vec<FindingReport>,
    pub(super) costs: Vec<CostReport>,
    pub(super) path: Option<PathReport>,
    /// What a round trip takes longer at most, in milliseconds.
    pub(super) added_delay_ms: f64,
}

/// A noise byte and its words.
#[derive(Debug, Serialize)]
pub(super) struct Byte {
    byte: u8,
    ratio: &'static str,
    size: &'static str,
    filler: &'static str,
    #[serde(skip)]
    off: bool,
}

impl Byte {
    fn new(byte: NoiseByte, uniform: bool) -> Self {
        Self {
            byte: byte.value(),
            ratio: byte.ratio().as_str(),
            size: if uniform && byte.size() == Default::default() {
                "uniform"
            } else {
                byte.size().as_str()
            },
            filler: byte.filler().as_str(),
            off: byte.is_off(),
        }
    }

    /// Writes it in words.
    pub(super) fn words(&self) -> String {
        if self.off {
            return "no noise".to_owned();
        }
        format!("ratio {}, size {}, filler {}", self.ratio, self.size, self.filler)
    }
}

/// How a request ends.
#[derive(Debug, Serialize)]
pub(super) struct Agreement {
    /// Whether there is a session.
    pub(super) agreed: bool,
    /// Whether it took a counter-proposal, so that the session has less than was asked for.
    pub(super) weaker: bool,
    /// The byte of the session, or the strongest that was offered.
    pub(super) byte: Byte,
    /// The same for people.
    pub(super) text: String,
}

impl Agreement {
    fn new(outcome: Outcome) -> Self {
        let (agreed, weaker, byte) = match outcome {
            Outcome::Agreed { byte, refusals } => (true, refusals > 0, byte),
            Outcome::Refused { granted, .. } => (false, false, granted),
        };
        Self { agreed, weaker, byte: Byte::new(byte, false), text: outcome.to_string() }
    }
}

/// What two files together mean.
#[derive(Debug, Serialize)]
pub(super) struct BothEnds {
    /// When this node asks; `null`: it knows no endpoint, so it never does.
    pub(super) asking: Option<Agreement>,
    /// When the other node asks.
    pub(super) answering: Option<Agreement>,
    /// The engine of the other node, which schedules what comes back.
    pub(super) engine: &'static str,
    pub(super) remarks: Vec<String>,
}

impl BothEnds {
    /// Tells whether no handshake leads to a session.
    pub(super) fn refused(&self) -> bool {
        let agreements = [&self.asking, &self.answering];
        let mut possible = agreements.into_iter().flatten().peekable();
        possible.peek().is_some() && possible.all(|agreement| !agreement.agreed)
    }
}

/// What the settings hide, or do not.
#[derive(Debug, Serialize)]
pub(super) struct FindingReport {
    /// `bad`, `leak` or `note`.
    pub(super) weight: &'static str,
    code: &'static str,
    pub(super) text: String,
}

/// What a load costs.
#[derive(Debug, Serialize)]
pub(super) struct CostReport {
    pub(super) load: &'static str,
    pub(super) description: &'static str,
    pub(super) plain_kbit_s: f64,
    pub(super) added_kbit_s: f64,
    pub(super) added_gib_month: f64,
}

/// What the path must take.
#[derive(Debug, Serialize)]
pub(super) struct PathReport {
    /// Bytes of the longest IP datagram.
    ipv4: usize,
    ipv6: usize,
    /// Whether all are that long.
    always: bool,
    pub(super) text: String,
}

impl Report {
    /// Judges `peers` of `file`; with the file of the other end also what the two agree on.
    pub(super) fn new(file: &PeerFile, peers: &[&Peer], other: Option<&PeerFile>) -> Self {
        Self {
            schema: SCHEMA,
            file: file.path.display().to_string(),
            other_file: other.map(|other| other.path.display().to_string()),
            peers: peers.iter().map(|peer| judged(file, peer, other)).collect(),
        }
    }
}

fn judged(file: &PeerFile, peer: &Peer, other: Option<&PeerFile>) -> PeerReport {
    let noise = &peer.noise;
    let (mut limit, mut limit_assumed) = limit_of(file);
    let asked = noise.byte();
    let default_peer = judge::negotiate(asked, &noise.policy, &NoisePolicy::default());
    let far = other.and_then(|other| {
        let mirrored = other.peer(&file.interface.private_key.public())?;
        Some((other, mirrored))
    });
    let mut agreed = None;
    let both = far.map(|(other, mirrored)| {
        let (far_limit, far_assumed) = limit_of(other);
        let mut remarks = remarks(file, other, peer, mirrored);
        if far_limit != limit {
            remarks.push(format!(
                "the two have an `mtu` of {limit} and {far_limit}: the smaller holds for both"
            ));
        }
        limit_assumed = match far_limit.cmp(&limit) {
            std::cmp::Ordering::Less => far_assumed,
            std::cmp::Ordering::Equal => limit_assumed || far_assumed,
            std::cmp::Ordering::Greater => limit_assumed,
        };
        limit = limit.min(far_limit);
        let ask = |from: &Peer, to: &Peer| {
            let known = from.endpoint.is_some();
            known.then(|| judge::negotiate(from.noise.byte(), &from.noise.policy, &to.noise.policy))
        };
        let (asking, answering) = (ask(peer, mirrored), ask(mirrored, peer));
        agreed = [asking, answering].into_iter().flatten().find_map(|outcome| match outcome {
            Outcome::Agreed { byte, .. } => Some(byte),
            Outcome::Refused { .. } => None,
        });
        if asking.is_none() && answering.is_none() {
            remarks.push(
                "neither knows an `endpoint` of the other: no session, whatever the noise"
                    .to_owned(),
            );
        }
        let both = asking.zip(answering).filter(|(a, b)| result(a) != result(b));
        if both.is_some() {
            remarks.push(
                "what the session has depends on who asks; give both the same `noise`".to_owned(),
            );
        }
        BothEnds {
            asking: asking.map(Agreement::new),
            answering: answering.map(Agreement::new),
            engine: mirrored.noise.engine.as_str(),
            remarks,
        }
    });
    let byte = agreed.unwrap_or(asked);
    let uniform = noise.config().uniform;
    let subject = Subject {
        byte,
        config: noise.config(),
        limit: usize::from(limit),
        open: peer.handshake == HandshakeKind::Open,
    };
    let Judgement { findings, costs, path, delay_ms } = judge::judge(&subject);
    PeerReport {
        label: peer.label(),
        asked: Byte::new(asked, uniform),
        engine: noise.engine.as_str(),
        budget_bits: noise.budget.map(|rate| rate.0),
        payload_limit: limit,
        limit_assumed,
        default_peer: Agreement::new(default_peer),
        other: both,
        judged: Byte::new(byte, uniform),
        findings: findings
            .into_iter()
            .map(|finding| FindingReport {
                weight: finding.weight().as_str(),
                code: finding.code(),
                text: finding.to_string(),
            })
            .collect(),
        costs: costs
            .into_iter()
            .map(|cost| CostReport {
                load: cost.load.name,
                description: cost.load.description,
                plain_kbit_s: rounded(cost.plain_kbit),
                added_kbit_s: rounded(cost.added_kbit),
                added_gib_month: rounded(cost.added_gib_month),
            })
            .collect(),
        path: path.map(|path| PathReport {
            ipv4: path.datagram.0,
            ipv6: path.datagram.1,
            always: path.always,
            text: path.to_string(),
        }),
        added_delay_ms: delay_ms,
    }
}

/// Returns the payload limit of a file, and whether it is assumed.
fn limit_of(file: &PeerFile) -> (u16, bool) {
    match file.interface.mtu {
        Mtu::Fixed(mtu) => (mtu, false),
        Mtu::Auto => (ASSUMED_MTU, true),
    }
}

fn result(outcome: &Outcome) -> Option<NoiseByte> {
    match outcome {
        Outcome::Agreed { byte, .. } => Some(*byte),
        Outcome::Refused { .. } => None,
    }
}

/// What else differs between the two ends.
fn remarks(file: &PeerFile, other: &PeerFile, peer: &Peer, mirrored: &Peer) -> Vec<String> {
    let mut remarks = Vec::new();
    let (here, there): (&NoiseSettings, &NoiseSettings) = (&peer.noise, &mirrored.noise);
    if here.engine != there.engine {
        remarks.push(format!(
            "each end schedules its own noise: `{}` from here, `{}` from there; one direction \
             then tells more than the other",
            here.engine, there.engine
        ));
    }
    if here.budget != there.budget {
        let word = |noise: &NoiseSettings| {
            noise.budget.map_or_else(|| "none".to_owned(), |rate| rate.to_string())
        };
        remarks.push(format!("the budgets differ: {} here, {} there", word(here), word(there)));
    }
    if (peer.handshake == HandshakeKind::Open && !other.interface.allow_open)
        || (mirrored.handshake == HandshakeKind::Open && !file.interface.allow_open)
    {
        remarks.push(
            "one end asks with open handshakes, which the other does not answer; write \
             `handshake: encrypted`"
                .to_owned(),
        );
    }
    remarks
}

/// Rounds to three decimals, so that sums do not show how they were made.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
