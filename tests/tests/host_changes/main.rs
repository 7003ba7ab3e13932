//! The host changes under the agent: addresses, interfaces and BPF programs are taken away or changed by
//! hand, with the tools that people use. All is put right at once, or the node does not serve, and says so.
#![expect(clippy::unwrap_used, reason = "a test panics")]

mod addresses;
mod claims;
mod database;
mod interfaces;
mod programs;
mod stage;
