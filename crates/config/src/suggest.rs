//! The known word that a misspelt one probably means.

/// What other programs call things: (their word without `_`, `-` and case, ours).
const SYNONYMS: &[(&str, &str)] = &[
    ("persistentkeepalive", "heartbeat"),
    ("keepalive", "heartbeat"),
    ("listenport", "listen"),
    ("port", "listen"),
    ("bind", "listen"),
    ("ip", "address"),
    ("addresses", "address"),
    ("table", "routes"),
    ("route", "routes"),
    ("routing", "routes"),
    ("psk", "preshared_key"),
    ("pubkey", "public_key"),
    ("key", "public_key"),
    ("key", "private_key"),
    ("secretkey", "private_key"),
    ("secret", "private_key"),
    ("pq", "post_quantum"),
    ("cipher", "ciphers"),
    ("peer", "peers"),
    ("preup", "hooks"),
    ("postup", "hooks"),
    ("predown", "hooks"),
    ("postdown", "hooks"),
    ("dnsservers", "dns"),
    ("padding", "filler"),
    ("threads", "workers"),
    ("mark", "fwmark"),
];

/// Finds the word of `known` that is nearest to `word`, if any is near.
pub(crate) fn nearest<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    let bare = |text: &str| -> String {
        text.chars().filter(|c| !"_- ".contains(*c)).flat_map(char::to_lowercase).collect()
    };
    if word.len() > 64 {
        return None;
    }
    let wanted = bare(word);
    let synonym = SYNONYMS
        .iter()
        .filter(|(theirs, _)| *theirs == wanted)
        .find_map(|(_, ours)| known.clone().into_iter().find(|k| k == ours));
    if synonym.is_some() {
        return synonym;
    }
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &bare(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= ((candidate.len() + 1) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let known = ["listen", "mtu", "allowed_ips", "heartbeat", "public_key"];
        for (word, expected) in [
            ("lisen", Some("listen")),
            ("ListenPort", Some("listen")),
            ("AllowedIPs", Some("allowed_ips")),
            ("mut", Some("mtu")),
            ("PersistentKeepalive", Some("heartbeat")),
            ("key", Some("public_key")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"m".repeat(100_000), known), None);
    }
}
