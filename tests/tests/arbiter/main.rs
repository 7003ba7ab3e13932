//! The arbiters, as the agent opens them, against real ones: an etcd of one or three members, and
//! gateways that answer, or do not, or lie.
#![expect(clippy::unwrap_used, reason = "a test panics")]

mod encrypted;
mod etcd;
mod gateway;
mod node;
