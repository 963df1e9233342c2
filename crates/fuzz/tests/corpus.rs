//! Replays the committed corpora, and simple inputs, through every target.

use std::path::Path;

use stadium_fuzz::TARGETS;

#[test]
fn committed_inputs_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, check) in TARGETS {
        let folder = root.join(name);
        let mut inputs = 0;
        for entry in folder.read_dir().expect("each target has a corpus") {
            let path = entry.expect("the folder can be read").path();
            let data = std::fs::read(&path).expect("the input can be read");
            assert!(data.len() <= 1 << 16, "{} is large for a seed", path.display());
            // names the input, should it panic
            println!("{}", path.display());
            check(&data);
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }
}

#[test]
fn simple_inputs_hold() {
    for (_, check) in TARGETS {
        for len in 0..100 {
            for byte in [0, 1, 2, 7, 0x45, 0x60, 0x7f, 0xff] {
                check(&vec![byte; len]);
            }
        }
    }
}

#[test]
fn every_target_is_listed_once() {
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let mut files: Vec<_> = folder
        .read_dir()
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("ASCII"))
        .collect();
    names.sort();
    files.sort();
    assert_eq!(names, files);
}
