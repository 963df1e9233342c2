//! See `stadium_fuzz::request`.
#![no_main]

stadium_fuzz::target!(request);
