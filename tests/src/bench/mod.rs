//! Benchmarks of the data plane.

mod assembly;
mod bpf;
pub mod cases;
mod peer;
pub mod report;
pub mod xdp;

pub use report::{Path, Report};
