//! The peer file that `stadium init` writes.

use stadium_proto::identity::SecretKey;
use zeroize::Zeroizing;

use crate::name::InterfaceName;

/// Writes a new peer file with comments, for the interface `name`, listening on `port`.
///
/// The secret stands in it, so the file must be readable by its owner only. [`crate::parse`]
/// takes it without a warning.
#[must_use]
pub fn template(name: &InterfaceName, port: u16, key: &SecretKey) -> Zeroizing<String> {
    let public = key.public();
    let secret = key.to_base64();
    let secret = secret.as_str();
    // all the room at once, so that growing leaves no copy of the secret behind
    let mut text = Zeroizing::new(String::with_capacity(4096));
    for part in [
        "# Peer file of the interface ",
        name.as_str(),
        ". Check it with `stadium check`, start it with `stadium up`.\n\
         # It holds a secret: keep its permissions at 0600.\n\
         #\n\
         # Public key of this node, for the peer files of others:\n\
         #   ",
        &public.to_base64(),
        "\n\
         \n\
         interface:\n\
         \x20 name: ",
        &quote_number(name.as_str()),
        "\n\
         \x20 private_key: ",
        secret,
        "\n\
         \x20 # The inner addresses of this node; every node of the network has its own.\n\
         \x20 address: []          # for example [10.7.0.1/24, \"fd07::1/64\"]\n\
         \x20 # The UDP port, drawn at random, so that it says nothing; peers name it as endpoint.\n\
         \x20 listen: ",
        &port.to_string(),
        "\n\
         \n\
         # One entry for each other node. This one is only an example:\n\
         #\n\
         #  - name: bob\n\
         #    public_key: KEY                     # what `stadium init` showed there\n\
         #    endpoint: bob.example.net:51871     # where it is reached, if it can be\n\
         #    allowed_ips: [10.7.0.2/32]          # the inner addresses that are its own\n\
         #    heartbeat: 25s                      # behind NAT: keeps the way open\n\
         peers: []\n",
    ] {
        text.push_str(part);
    }
    text
}

/// Quotes a name that YAML would take for a number, or for nothing.
fn quote_number(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !matches!(name.to_ascii_lowercase().as_str(), "null" | "true" | "false");
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Environment, parse};
    use crate::model::ListenOn;
    use std::path::Path;

    #[test]
    fn a_new_file_is_valid_without_a_warning() {
        for name in ["stadium0", "123", "null", "-", "=a", "1e3"] {
            let key = SecretKey::from_seed([7; 32]);
            let name = InterfaceName::new(name).unwrap();
            let text = template(&name, 50_000, &key);
            assert!(text.capacity() == 4096 && text.len() < 4096, "grown: {}", text.len());
            let loaded = parse(&text, Path::new("x.yaml"), &Environment::default())
                .unwrap_or_else(|errors| panic!("{errors}"));
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
            assert_eq!(loaded.file.interface.name, name);
            assert_eq!(loaded.file.interface.private_key, key);
            assert_eq!(loaded.file.interface.listen.0, [ListenOn::Port(50_000)]);
        }
    }
}
