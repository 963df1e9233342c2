//! What the tests of peer files share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use stadium_proto::identity::SecretKey;

/// The private key with this number, in base64.
pub fn secret(number: u8) -> String {
    SecretKey::from_seed([number; 32]).to_base64().to_string()
}

/// The public key that belongs to [`secret`] of this number.
pub fn key(number: u8) -> String {
    SecretKey::from_seed([number; 32]).public().to_base64()
}

/// Takes every `▶` out of a text, and returns the lines and columns where they stood.
pub fn marked(text: &str) -> (String, Vec<(usize, usize)>) {
    let mut places = Vec::new();
    let mut clean = String::new();
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        match c {
            '▶' => {
                places.push((line, column));
                continue;
            }
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        clean.push(c);
    }
    (clean, places)
}

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "stadium-config-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the folder of temporary files can be written");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file with these permissions.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
