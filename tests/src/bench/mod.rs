//! Benchmarks of the data plane.

pub mod assembly;
pub mod bpf;
pub mod cases;
pub mod report;
pub mod xdp;

pub use report::{Path, Report};
