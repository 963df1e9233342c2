//! Hostile datagrams (`protocol.md` sections 2 and 5), one kind each.

use std::io;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::pace::Mix;

/// The first eight bytes of a REQUEST.
const MAGIC: &[u8; 8] = b"StadiumP";
/// Bytes of a REQUEST's mac.
const MAC: usize = 16;

/// What is wrong with the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A first byte that no datagram has, then random bytes.
    Junk,
    /// A REQUEST of random bytes, its mac too.
    BadMac,
    /// A REQUEST of random bytes with the right mac, as whoever knows the public key can make it.
    ValidMac,
    /// Datagrams of a file, again and again.
    Replay,
    /// DATA for a random index.
    Index,
    /// DATA for the index of a recorded datagram, with fresh counters and random content.
    Tag,
}

/// What the kinds need to know.
#[derive(clap::Args, Debug)]
pub(crate) struct ForgeArgs {
    /// What is wrong with the datagrams
    #[arg(long, value_enum)]
    pub(crate) kind: Kind,
    /// The length of those that are made up
    #[arg(long, default_value_t = 240)]
    pub(crate) len: usize,
    /// For valid-mac: the receiver's public key, 64 hexadecimal digits
    #[arg(long)]
    key: Option<String>,
    /// For replay and tag: a file of datagrams, one a line in hexadecimal digits
    #[arg(long)]
    sample: Option<PathBuf>,
}

/// Writes datagrams of one kind.
pub(crate) struct Forge {
    kind: Kind,
    len: usize,
    mac: Option<Hmac<Sha256>>,
    samples: Vec<Vec<u8>>,
    mix: Mix,
    made: u64,
}

impl Forge {
    /// Reads what the kind needs.
    ///
    /// # Errors
    ///
    /// What is missing or cannot be read.
    pub(crate) fn new(args: &ForgeArgs) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let mac = match (args.kind, &args.key) {
            (Kind::ValidMac, Some(key)) => {
                let key = hex::decode(key).map_err(|_| wrong("--key takes hexadecimal digits"))?;
                let mk = Sha256::new().chain_update(b"StadiumP/1 mac").chain_update(key).finalize();
                Some(Hmac::new_from_slice(&mk).map_err(|_| wrong("no key for the mac"))?)
            }
            (Kind::ValidMac, None) => return Err(wrong("valid-mac needs --key")),
            _ => None,
        };
        let mut samples = Vec::new();
        if matches!(args.kind, Kind::Replay | Kind::Tag) {
            let file = args.sample.as_ref().ok_or_else(|| wrong("this kind needs --sample"))?;
            for line in std::fs::read_to_string(file)?.lines() {
                samples.push(hex::decode(line).map_err(|_| wrong("a line is not hexadecimal"))?);
            }
            if samples.is_empty() || samples.iter().any(|sample| sample.len() < 32) {
                return Err(wrong("the file has no datagrams of at least 32 bytes"));
            }
        }
        let len = args.len.clamp(64, 1452);
        // another flood than the last one: the same bytes again would be told as repeated
        let seed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(7, |since| since.as_nanos() as u64);
        Ok(Self { kind: args.kind, len, mac, samples, mix: Mix::new(seed), made: 0 })
    }

    /// Returns the length of the next datagram.
    pub(crate) fn next_len(&self) -> usize {
        match self.kind {
            Kind::Replay => self.samples[self.made as usize % self.samples.len()].len(),
            _ => self.len,
        }
    }

    /// Writes the next datagram, of [`Self::next_len`] bytes.
    pub(crate) fn write(&mut self, out: &mut [u8]) {
        let number = self.made;
        self.made += 1;
        if self.kind == Kind::Replay {
            return out.copy_from_slice(&self.samples[number as usize % self.samples.len()]);
        }
        self.mix.fill(out);
        match self.kind {
            Kind::Junk => out[0] |= 0x80,
            Kind::BadMac | Kind::ValidMac => {
                out[..8].copy_from_slice(MAGIC);
                out[8] = 0x7a;
                // an index is not 0
                out[9] |= 1;
                if let Some(mac) = &self.mac {
                    let at = out.len() - MAC;
                    let tag = mac.clone().chain_update(&out[..at]).finalize().into_bytes();
                    out[at..].copy_from_slice(&tag[..MAC]);
                }
            }
            Kind::Index => {
                out[..4].copy_from_slice(&[4, 0, 0, 0]);
                out[4] |= 1;
            }
            Kind::Tag => {
                let sample = &self.samples[0];
                out[..16].copy_from_slice(&sample[..16]);
                let counter = u64::from_le_bytes(sample[8..16].try_into().expect("eight bytes"));
                out[8..16].copy_from_slice(&(counter + 1 + number % 4096).to_le_bytes());
            }
            Kind::Replay => {}
        }
    }
}
