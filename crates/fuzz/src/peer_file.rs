//! The peer file: any text is taken or refused with findings that have a place in it; what is taken
//! means the same however often it is read, with comments or a byte order mark around it.

use std::path::Path;

use stadium_config::{Diagnostics, Environment, PeerFile, Severity, diff, parse};

/// The secrets of the committed inputs, which no message may show.
pub const SECRETS: [&str; 2] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3c=",
];

/// Checks one input: the text of a file.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // no file of the machine is read: what stands beside the file is not there
    if text.contains("_file") && text.contains(['/', '.', '~']) {
        return;
    }
    match (load(&text), load(&text)) {
        (Ok((file, warnings)), Ok((again, _))) => {
            assert_eq!(warnings.errors(), 0);
            findings(&text, &warnings);
            same(&file, &again, "read twice");
            same(&file, &file.clone(), "a clone");
            if let Ok((marked, _)) = load(&format!("\u{feff}{text}")) {
                same(&file, &marked, "after a byte order mark");
            } else {
                assert!(text.starts_with('\u{feff}'), "a byte order mark is refused");
            }
            // a scalar that keeps its line breaks would keep this one too
            if !text.contains('+') && !text.contains("...") && !text.contains('\0') {
                let (longer, _) = load(&format!("{text}\n# the end\n")).expect("a comment is none");
                same(&file, &longer, "before a comment");
            }
        }
        (Err(errors), Err(again)) => {
            assert!(errors.errors() > 0, "refused without an error");
            assert_eq!(errors, again);
            findings(&text, &errors);
        }
        _ => panic!("taken once, refused once"),
    }
}

fn load(text: &str) -> Result<(PeerFile, Diagnostics), Diagnostics> {
    parse(text, Path::new(PATH), &Environment::default())
        .map(|loaded| (loaded.file, loaded.warnings))
}

fn same(a: &PeerFile, b: &PeerFile, when: &str) {
    assert_eq!(diff(a, b), [], "it changes when read {when}");
}

/// Checks that findings are in order, have a place in the text and can be printed.
fn findings(text: &str, list: &Diagnostics) {
    assert_eq!(list.path(), Path::new(PATH));
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u32;
    let longest = text.chars().count() as u32;
    let mut last = None;
    for finding in list {
        let position = finding.position;
        assert!((1..=lines).contains(&position.line), "line {} of {lines}", position.line);
        assert!((1..=longest + 1).contains(&position.column), "{finding}");
        assert!(last <= Some(position), "findings are out of order");
        last = Some(position);
        let message = finding.to_string();
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(message.len() < 4096, "a message of {} bytes", message.len());
        assert!(!SECRETS.iter().any(|secret| message.contains(secret)), "a secret is shown");
        assert!(finding.severity == Severity::Error || list.errors() < list.len());
    }
}

/// Where the file would be; nothing is there.
const PATH: &str = "/nowhere/fuzz.yaml";
