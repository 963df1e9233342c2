//! See `stadium_fuzz::retry_error`.
#![no_main]

stadium_fuzz::target!(retry_error);
