//! See `stadium_fuzz::consent`.
#![no_main]

stadium_fuzz::target!(consent);
