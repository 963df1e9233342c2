//! See `stadium_fuzz::replay`.
#![no_main]

stadium_fuzz::target!(replay);
