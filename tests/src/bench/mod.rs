//! Benchmarks of the data plane.

pub mod assembly;
pub mod bpf;
pub mod cases;
pub mod load;
mod peer;
pub mod pgbench;
pub mod probes;
pub mod report;
pub mod throughput;
pub mod xdp;

pub use report::{Path, Report, Results};
