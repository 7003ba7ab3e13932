//! An XDP program that is not ogha's, and lets everything pass.

use std::os::fd::OwnedFd;

use ogha_tests::{
    bench::{assembly, bpf::Program},
    lab::Namespace,
};

pub use ogha_tests::bench::bpf::Mode;

/// Attached until it is dropped.
pub struct Foreign(#[expect(dead_code, reason = "held, for the kernel counts on it")] OwnedFd);

impl Foreign {
    /// On an interface of a host or a switch.
    pub fn attach(at: &Namespace, interface: &str, mode: Mode) -> Self {
        let program = Program::load(&assembly::pass()).unwrap();
        Self(at.enter(|| {
            let index = nix::net::if_::if_nametoindex(interface).unwrap();
            program.attach(index, mode).unwrap()
        }))
    }
}
