//! StadiumP sessions as a library, without a TUN.
