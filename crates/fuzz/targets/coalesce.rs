//! See `stadium_fuzz::coalesce`.
#![no_main]

stadium_fuzz::target!(coalesce);
