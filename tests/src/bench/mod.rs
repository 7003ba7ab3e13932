//! Benchmarks: of the data plane, and of how the agents bear a machine that is in trouble.

pub mod alarms;
pub mod assembly;
pub mod bpf;
pub mod calm;
pub mod cases;
pub mod faults;
pub mod hangs;
pub mod load;
mod peer;
pub mod pgbench;
pub mod probes;
pub mod report;
pub mod starvation;
pub mod storm;
pub mod throughput;
pub mod verdicts;
pub mod xdp;

pub use report::{Path, Report, Results};
