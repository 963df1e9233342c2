//! Gathers the facts: asks the daemon, the kernel, and the hosts of silent peers.

mod daemon;
mod echo;
mod filter;
mod kernel;
mod peers;
mod permission;
mod port;
mod probe;

use std::path::Path;
use std::time::{Duration, SystemTime};

use stadium_config::Target;
use stadium_node::{Question, survey};

use super::facts::{Facts, FileFact};
use crate::failure::Failure;
use crate::mark::own_mark;
use crate::target::place;

/// The least time between the two looks at counters.
const WINDOW: Duration = Duration::from_secs(1);

/// Looks at everything; `wait` bounds how long peers may take to answer.
///
/// # Errors
/// The kernel does not answer, or no interface can be made out.
pub(crate) fn gather(target: &Target, wait: Duration) -> Result<Facts, Failure> {
    let path = target.peer_file();
    let file = file(&path);
    let written = std::fs::metadata(&path).and_then(|data| data.modified()).ok();
    let (name, socket) = match (place(target), target) {
        (Ok(place), _) => (place.name.to_string(), Some(place.socket)),
        (Err(_), Target::Interface(name)) => (name.to_string(), Some(name.socket())),
        // the file tells neither name nor socket; what is wrong with it is a finding
        (Err(_), Target::File(path)) => {
            (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), None)
        }
    };
    let counters = kernel::Counters::read();
    let mut talk = daemon::Talk::open(socket.as_deref());
    let mut peers = peers::list(&file, talk.before());
    peers::resolve(&mut peers, wait)?;
    talk.connect(&mut peers, wait);
    let machine = survey(&[])?.facts;
    let mark = own_mark(file.valid().map(|file| file.interface.fwmark), &machine, &name);
    peers::ask_outside(&mut peers, socket.as_deref(), talk.look().as_ref(), mark);
    let window = std::thread::spawn(|| std::thread::sleep(WINDOW));
    peers::ask_kernel(&mut peers, talk.before(), mark)?;
    let permission = permission::look();
    let listen = talk.before().map(|status| status.listen.clone());
    let taken = match (&listen, file.valid()) {
        (None, Some(file)) => port::taken(&file.interface.listen.addresses()),
        _ => Vec::new(),
    };
    // a sleeping thread cannot fail
    let _ = window.join();
    let daemon = talk.close();
    let ports = listen.or_else(|| file.valid().map(|file| file.interface.listen.addresses()));
    let filters = filter::look(&ports.unwrap_or_default(), &peers::outer_links(&peers, &machine));
    let kernel = counters.finish(&machine);
    let now = SystemTime::now();
    Ok(Facts {
        name,
        path,
        file,
        written,
        now,
        daemon,
        machine,
        kernel,
        filters,
        permission,
        taken,
        peers,
    })
}

/// Loads the peer file, or says what is in the way.
fn file(path: &Path) -> FileFact {
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => FileFact::Missing,
        Err(error) => FileFact::Unreadable(error.to_string()),
        Ok(_) => match stadium_config::load(path) {
            Ok(loaded) => FileFact::Valid(Box::new(loaded.file)),
            Err(diagnostics) => FileFact::Invalid(diagnostics),
        },
    }
}

/// Asks the kernel for ways, in the order of the questions.
fn ways(
    questions: &[Question],
) -> Result<Vec<Result<stadium_node::system::Way, stadium_node::system::NoWay>>, Failure> {
    Ok(survey(questions)?.ways)
}
