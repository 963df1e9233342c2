//! See `stadium_fuzz::peer_file`.
#![no_main]

stadium_fuzz::target!(peer_file);
