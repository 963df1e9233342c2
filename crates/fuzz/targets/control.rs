//! See `stadium_fuzz::control`.
#![no_main]

stadium_fuzz::target!(control);
