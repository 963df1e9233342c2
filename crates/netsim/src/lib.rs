//! Seeded test links in virtual time and as a UDP relay.
