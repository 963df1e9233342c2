//! See `stadium_fuzz::vnet_segment`.
#![no_main]

stadium_fuzz::target!(vnet_segment);
