//! Benchmarks of the data plane.

mod assembly;
mod bpf;
pub mod cases;
pub mod report;
pub mod xdp;

pub use report::{Path, Report};
