//! An XDP program that is not ogha's, and lets everything pass.

use std::os::fd::OwnedFd;

use ogha_tests::{
    bench::{assembly, bpf::Program},
    lab::Host,
};

pub use ogha_tests::bench::bpf::Mode;

use crate::stage::interface;

/// Attached until it is dropped.
pub struct Foreign(#[expect(dead_code, reason = "held, for the kernel counts on it")] OwnedFd);

impl Foreign {
    /// On a host's interface.
    pub fn attach(host: &Host, mode: Mode) -> Self {
        let program = Program::load(&assembly::pass()).unwrap();
        let index = interface(host).index;
        Self(host.namespace().enter(|| program.attach(index, mode)).unwrap())
    }
}
