//! A simulated world: real engines with a small data plane, on links that lose, reorder,
//! duplicate, delay and corrupt, on virtual time. A failure names its seed; equal seeds make equal
//! runs.
//!
//! | module | concept |
//! |---|---|
//! | `inner`, `ledger` | inner packets that tell what became of them, and the books about them |
//! | `node`, `data`, `wake`, `net` | a node, its data plane, what wakes it, and worlds of them |
//! | the others | scenarios, each with its figures |

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod data;
mod inner;
mod ledger;
mod net;
mod node;
mod wake;

mod basics;
mod crossing;
mod day;
mod guard;
mod junk;
mod loss;
mod model;
mod reload;
mod replay;
mod restart;
mod roaming;
