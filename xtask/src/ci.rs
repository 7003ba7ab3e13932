//! `ci`: everything that a change must pass.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{
    cargo,
    setup::{self, Scope},
    test,
};

/// Formatting, lints, documentation, tests, in this order: the quickest to fail comes first.
pub fn command() -> Result<ExitCode> {
    setup::ensure(Scope::All)?;
    title("formatting");
    cargo::run(cargo::cargo().args(["fmt", "--all", "--check"]))?;
    title("lints");
    cargo::run(&mut host_lints())?;
    title("lints of the BPF programs");
    cargo::run(&mut bpf_lints(&setup::bpf_toolchain()))?;
    title("documentation");
    cargo::run(&mut documentation())?;
    title("tests");
    test::command(&test::Options::default())
}

fn title(what: &str) {
    println!("== {what}");
}

/// `--locked`: a `Cargo.lock` that lags behind is a fault of the change.
fn host_lints() -> Command {
    let mut clippy = cargo::cargo();
    clippy.args(["clippy", "--locked", "--workspace", "--exclude", "ogha-ebpf", "--all-targets"]);
    clippy.args(["--", "-D", "warnings"]);
    clippy
}

/// The programs build for the BPF target only, with their own compiler; where that one has no
/// clippy, its own warnings are denied. What they share with the host is linted there.
fn bpf_lints(toolchain: &str) -> Command {
    let clippy = setup::has_component(toolchain, "clippy-driver");
    let mut lints = Command::new("rustup");
    lints.current_dir(cargo::workspace());
    lints.args(["run", toolchain, "cargo"]);
    lints.args(if clippy { &["clippy", "--no-deps"][..] } else { &["check"] });
    lints.args(["--locked", "--package", "ogha-ebpf", "--bins", "--release"]);
    lints.args(["--target", "bpfel-unknown-none", "-Zbuild-std=core"]);
    // A folder of its own: two compilers that share one make each other start afresh.
    lints.arg("--target-dir").arg(cargo::target_dir().join("bpf-lints"));
    let arch = std::env::consts::ARCH;
    lints.env("RUSTFLAGS", format!("--cfg bpf_target_arch=\"{arch}\" -D warnings"));
    lints.env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTC").env_remove("CARGO");
    lints
}

fn documentation() -> Command {
    let mut doc = cargo::cargo();
    doc.args(["doc", "--locked", "--no-deps", "--workspace", "--exclude", "ogha-ebpf"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    doc
}
