//! See `stadium_fuzz::lbm`.
#![no_main]

stadium_fuzz::target!(lbm);
