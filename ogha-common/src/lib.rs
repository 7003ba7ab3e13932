//! The pure part of ogha.
//!
//! No I/O and no clock: time comes in as a parameter, effects go out as values. So everything
//! here is tested without root, without nightly and without a kernel, and the same code runs in
//! the BPF programs, in the agent and in the simulation.
#![no_std]
#![forbid(unsafe_code)]

pub mod detector;
pub mod election;
pub mod failover;
pub mod gate;
pub mod maps;
pub mod profile;
pub mod reason;
pub mod retry;
pub mod router;
pub mod units;
pub mod wire;
