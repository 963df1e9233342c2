//! The program `stadium`.

fn main() {}
