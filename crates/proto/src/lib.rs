//! StadiumP, the protocol engine, without sockets or clocks.
