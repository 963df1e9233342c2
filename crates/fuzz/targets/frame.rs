//! See `stadium_fuzz::frame`.
#![no_main]

stadium_fuzz::target!(frame);
