//! The lab and what runs in it.
//!
//! [`lab`] builds hosts (network namespaces), a switch, databases, agents, a writer and a watcher
//! on one machine. The [`demo`], the scenarios in `tests/` and the benchmarks run in it. All of it
//! needs root.

pub mod bench;
pub mod demo;
pub mod lab;
pub mod opengauss;
pub mod simulation;
