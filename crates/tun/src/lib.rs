//! The TUN driver of Stadium: superpackets in and out.
