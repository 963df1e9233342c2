//! From the path of a peer file, or its text, to the validated value.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use stadium_proto::identity::PublicKey;
use zeroize::Zeroizing;

use crate::diagnostic::{Diagnostics, Position};
use crate::model::{HookTrust, PeerFile, base_of};
use crate::section::{FILE, FILE_KEYS, Section};
use crate::{agree, check, control, interface, peers, plain, secret, settings, syntax, tree};

/// The most bytes that a peer file has; ten thousand peers are some 2 MB.
const MAX_FILE: u64 = 32 << 20;

/// Holds a peer file that may be used, and what is odd about it all the same.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub file: PeerFile,
    /// Warnings only; often empty.
    pub warnings: Diagnostics,
    /// The folders of the secret files that it names, each once, in order.
    pub secret_folders: Vec<PathBuf>,
}

impl Loaded {
    /// Takes loose permissions of secrets for errors, as `stadium check --strict` does.
    ///
    /// # Errors
    ///
    /// Fails with all warnings, those among them that are errors now marked as such.
    pub fn strict(self) -> Result<Self, Diagnostics> {
        let warnings = self.warnings.clone().stricter();
        if warnings.errors() > 0 { Err(warnings) } else { Ok(self) }
    }
}

/// Says what a peer file's meaning depends on beside its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The folder of systemd credentials (`$CREDENTIALS_DIRECTORY`), where secret files may be
    /// that are not beside the peer file.
    pub credentials: Option<PathBuf>,
}

impl Environment {
    /// Takes the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self { credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }
}

/// What the file system says of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFacts {
    pub(crate) regular: bool,
    pub(crate) owner: u32,
    /// The permission bits.
    pub(crate) mode: u32,
}

impl FileFacts {
    fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(std::io::Error::other("it is a folder"));
        }
        Ok(Self {
            regular: metadata.is_file(),
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
        })
    }

    /// Says what group or others can do with the file, if anything.
    pub(crate) const fn exposure(&self) -> Option<&'static str> {
        if self.mode & 0o044 != 0 {
            Some("read")
        } else if self.mode & 0o022 != 0 {
            Some("write")
        } else {
            None
        }
    }

    const fn hook_trust(&self) -> HookTrust {
        if !self.regular {
            HookTrust::NotAFile
        } else if self.owner != 0 {
            HookTrust::OwnedBy(self.owner)
        } else if self.mode & 0o022 != 0 {
            HookTrust::WritableByOthers(self.mode)
        } else {
            HookTrust::RootOnly
        }
    }
}

/// Loads the peer file at `path`, in the environment of this process.
///
/// # Errors
///
/// Fails with everything that is wrong, warnings included.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_in(path, &Environment::of_process())
}

/// Loads the peer file at `path`.
///
/// # Errors
///
/// Fails with everything that is wrong, warnings included.
pub fn load_in(path: &Path, environment: &Environment) -> Result<Loaded, Diagnostics> {
    load_knowing(path, environment, Known::default())
}

/// Loads the file of `in_force` again, in the environment of this process.
///
/// What `in_force` says has no part in the outcome; but the public keys that stand there have been
/// checked, and checking keys is most of the work where there are many.
///
/// # Errors
///
/// Fails with everything that is wrong, warnings included.
pub fn load_again(in_force: &PeerFile) -> Result<Loaded, Diagnostics> {
    let keys = in_force.peers.iter().map(|peer| (*peer.public_key.as_bytes(), peer.public_key));
    load_knowing(&in_force.path, &Environment::of_process(), keys.collect())
}

/// Public keys that have been checked, by their bytes.
pub(crate) type Known = HashMap<[u8; 32], PublicKey>;

fn load_knowing(
    path: &Path,
    environment: &Environment,
    known: Known,
) -> Result<Loaded, Diagnostics> {
    let (text, facts) = read(path)?;
    let text = std::str::from_utf8(&text).map_err(|error| {
        let before = &text[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut list = Diagnostics::new(path);
        list.error(
            Position { line: number(line), column: number(column) },
            "this byte is no UTF-8; save the file as UTF-8",
        );
        list
    })?;
    build(text, path, environment, Some(facts), known)
}

/// Parses the text of a peer file that would be at `path`.
///
/// Secret files are read. Nothing is known of who owns the text, so its hooks may not run.
///
/// # Errors
///
/// Fails with everything that is wrong, warnings included.
pub fn parse(text: &str, path: &Path, environment: &Environment) -> Result<Loaded, Diagnostics> {
    build(text, path, environment, None, Known::default())
}

fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, FileFacts), Diagnostics> {
    let failed = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path; `stadium init` writes a new file",
            std::io::ErrorKind::PermissionDenied => "run as the owner of the file, or as root",
            _ => "check the path",
        };
        let reason = secret::reason(&error);
        Diagnostics::of_file(path, format!("cannot read the peer file: {reason}; {remedy}"))
    };
    let file = File::open(path).map_err(failed)?;
    let facts = FileFacts::of(&file).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len().min(MAX_FILE);
    // all the room at once, so that growing leaves no copies of secrets behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 4096));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Diagnostics::of_file(
            path,
            "the file is larger than 32 MiB; a peer file is not: check the path",
        ));
    }
    Ok((bytes, facts))
}

/// What reading the sections of a file needs and collects.
pub(crate) struct Context<'a> {
    pub(crate) diagnostics: Diagnostics,
    environment: &'a Environment,
    base: &'a Path,
    first_inline_secret: Option<Position>,
    found: HashMap<PathBuf, (PathBuf, bool)>,
    pub(crate) known: Known,
}

impl Context<'_> {
    /// Notes that a secret stands in the file itself.
    pub(crate) fn inline_secret(&mut self, position: Option<Position>) {
        self.first_inline_secret = self.first_inline_secret.or(position);
    }

    /// Returns where a secret file is, and whether that is the folder of credentials.
    ///
    /// A relative path is looked for beside the peer file, then among the credentials.
    pub(crate) fn find_secret(&mut self, named: &Path) -> (PathBuf, bool) {
        if let Some(found) = self.found.get(named) {
            return found.clone();
        }
        let beside = self.base.join(named);
        let found = match &self.environment.credentials {
            Some(folder) if named.is_relative() && !beside.exists() => {
                let credential = folder.join(named);
                if credential.exists() { (credential, true) } else { (beside, false) }
            }
            _ => (beside, false),
        };
        self.found.insert(named.to_owned(), found.clone());
        found
    }

    /// Returns a path of the file as the process sees it.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }
}

fn build(
    text: &str,
    path: &Path,
    environment: &Environment,
    facts: Option<FileFacts>,
    known: Known,
) -> Result<Loaded, Diagnostics> {
    let mut context = Context {
        diagnostics: Diagnostics::new(path),
        environment,
        base: base_of(path),
        first_inline_secret: None,
        found: HashMap::new(),
        known,
    };
    // serde_yaml takes a byte order mark for content
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = parsed(text, &mut context.diagnostics);
    let file = root.and_then(|root| read_file(&root, path, facts, &mut context));
    if let (Some(position), Some(facts)) = (context.first_inline_secret, facts)
        && let Some(exposure) = facts.exposure().filter(|_| facts.regular)
    {
        context.diagnostics.warn_strict(
            position,
            format!(
                "others can {exposure} this file (mode {:04o}), and a secret stands in it; run \
                 `chmod 600 {}`, or move the secret to a file of its own",
                facts.mode,
                path.display()
            ),
        );
    }
    let folders: BTreeSet<&Path> =
        context.found.values().filter_map(|(path, _)| path.parent()).collect();
    let secret_folders = folders.into_iter().map(Path::to_owned).collect();
    let diagnostics = context.diagnostics.sorted();
    match file {
        Some(file) if diagnostics.errors() == 0 => {
            Ok(Loaded { file, warnings: diagnostics, secret_folders })
        }
        _ => Err(diagnostics),
    }
}

/// Turns the text into a tree, or reports why there is none.
fn parsed<'t>(text: &'t str, diagnostics: &mut Diagnostics) -> Option<tree::Node<'t>> {
    if let Some(root) = plain::parse(text) {
        return Some(root);
    }
    if !syntax::printable(text, diagnostics) {
        return None;
    }
    let mut root = match tree::parse(text) {
        Ok(root) => root,
        Err(failure) => {
            syntax::report(&failure, text, diagnostics);
            return None;
        }
    };
    match agree::resolve(text, &mut root) {
        Ok(()) => Some(root),
        Err(found) => {
            syntax::report_disagreement(&found, text, diagnostics);
            None
        }
    }
}

fn read_file(
    root: &tree::Node<'_>,
    path: &Path,
    facts: Option<FileFacts>,
    context: &mut Context<'_>,
) -> Option<PeerFile> {
    let top = Section::open(root, FILE, FILE_KEYS, &mut context.diagnostics)?;
    let hook_trust = facts.map_or(HookTrust::NotAFile, |facts| facts.hook_trust());
    let section = interface::open(&top, &mut context.diagnostics);
    let interface = section
        .as_ref()
        .and_then(|section| interface::read(section, top.key_position("interface"), path, context));
    let control = control::read(&top, interface.as_ref().map(|i| &i.name), context);
    let noise = settings::read(&top, Default::default(), context);
    let (post_quantum, ciphers) = settings::algorithms(&top, &mut context.diagnostics);
    let own_key = interface.as_ref().map(|interface| interface.private_key.public());
    let (peers, places) = peers::read(&top, own_key.as_ref(), &noise, context);
    let inline_secrets = context.first_inline_secret.is_some();
    let file = PeerFile {
        path: path.to_owned(),
        interface: interface?,
        control: control?,
        noise,
        post_quantum,
        ciphers,
        peers,
        hook_trust,
        inline_secrets,
    };
    check::read(&section?, &file, &places, &mut context.diagnostics);
    Some(file)
}
