//! The peer file: there, readable, valid.

use super::super::facts::{Daemon, Facts, FileFact};
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let path = facts.path.display();
    let found = match &facts.file {
        FileFact::Valid(_) => return Vec::new(),
        // a daemon may run from a file that is elsewhere, or gone
        FileFact::Missing if matches!(facts.daemon, Daemon::Running(_)) => return Vec::new(),
        FileFact::Missing => Finding::problem(
            finding::BAD_FILE,
            format!("there is no peer file {path}"),
            "check the path, or make one with `stadium init`",
        ),
        FileFact::Unreadable(why) => Finding::problem(
            finding::NO_PERMISSION,
            format!("the peer file {path} cannot be read: {why}"),
            "run as root or with sudo",
        ),
        FileFact::Invalid(diagnostics) => Finding::problem(
            finding::BAD_FILE,
            format!("the peer file is invalid:\n{diagnostics}"),
            format!("correct these lines; `stadium check {path}` says when all is well"),
        ),
    };
    vec![found]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_matters_only_where_nothing_runs() {
        let mut facts = Facts::healthy();
        assert!(check(&facts).is_empty());
        facts.daemon = Daemon::Absent;
        assert_eq!(check(&facts)[0].code, finding::BAD_FILE);
        facts.file = FileFact::Unreadable("Permission denied".to_owned());
        assert_eq!(check(&facts)[0].code, finding::NO_PERMISSION);
    }
}
