//! What went wrong outside the simulation, each with a real pair: the rules that a database, an operator,
//! a disk or a consensus store can't be allowed to break.
#![expect(clippy::unwrap_used, reason = "a test panics")]

mod advice;
mod clones;
mod consensus;
mod force;
mod frozen;
mod in_sync;
mod interrupted;
mod leaps;
mod recovery;
mod retries;
mod stage;
mod unknown;
