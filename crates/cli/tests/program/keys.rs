//! `genkey`, `pubkey`, `genpsk`.

use crate::support::{stadium, stadium_with};

#[test]
fn a_key_and_its_public_key_come_through_a_pipe() {
    let key = stadium(&["genkey"]);
    assert_eq!((key.code, key.stderr.as_str()), (0, ""));
    assert_eq!(key.stdout.len(), 45);
    let public = stadium_with(&["pubkey"], key.stdout.as_bytes());
    assert_eq!((public.code, public.stderr.as_str()), (0, ""));
    assert_eq!(public.stdout.len(), 45);
    assert_ne!(public.stdout, key.stdout);
    let again = stadium_with(&["pubkey"], key.stdout.trim_end().as_bytes());
    assert_eq!(again.stdout, public.stdout);
    assert_ne!(stadium(&["genkey"]).stdout, key.stdout);
}

#[test]
fn the_public_key_is_that_of_rfc_8032() {
    // section 7.1, test 1
    let public = stadium_with(&["pubkey"], b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n");
    assert_eq!(public.stdout, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n");
}

#[test]
fn preshared_keys_differ() {
    let (one, other) = (stadium(&["genpsk"]), stadium(&["genpsk"]));
    assert_eq!((one.code, one.stdout.len()), (0, 45));
    assert_ne!(one.stdout, other.stdout);
}

#[test]
fn what_is_no_key_is_wrong_usage_and_is_not_repeated() {
    for input in [&b""[..], b"secret-but-wrong\n", b"\xff\xfe\n", &[b'A'; 5000]] {
        let public = stadium_with(&["pubkey"], input);
        assert_eq!((public.code, public.stdout.as_str()), (2, ""));
        assert!(public.stderr.contains("stdin is not a private key"), "{}", public.stderr);
        assert!(public.stderr.contains("stadium genkey"), "{}", public.stderr);
        assert!(!public.stderr.contains("secret-but-wrong"), "{}", public.stderr);
    }
}
