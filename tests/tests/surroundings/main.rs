//! The agent and what surrounds it: its log, its disk, its limits, its signals, its configuration. None of
//! them may end it, hold it up, or fail without a word.
#![expect(clippy::unwrap_used, reason = "a test panics")]

mod disk;
mod journal;
mod limits;
mod log;
mod reload;
mod stage;
