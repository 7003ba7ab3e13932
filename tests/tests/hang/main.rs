//! Who may make ogha stop a database: a hang, and nobody who can merely reach its port.
#![expect(clippy::unwrap_used, reason = "a test panics")]

mod real;
mod stage;
mod strangers;
