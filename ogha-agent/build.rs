//! Builds the BPF programs and leaves the object in `OUT_DIR`, so that plain `cargo build` is
//! enough. Their compiler is the one that `OGHA_BPF_TOOLCHAIN` names, else the one that
//! `cargo xtask setup` chose, else `nightly`.

use std::path::Path;

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

/// Where setup writes down its choice.
const CHOICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ogha-bpf-toolchain");

fn main() -> anyhow::Result<()> {
    let toolchain = toolchain();
    // For the cargo within: what it says comes out as warnings, so it shall speak of faults only.
    set("CARGO_TERM_QUIET", "true");
    if toolchain == "debian" {
        set("RUSTC_BOOTSTRAP", "1");
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../ogha-ebpf");
    aya_build::build_ebpf(
        [Package { name: "ogha-ebpf", root_dir: root, ..Default::default() }],
        Toolchain::Custom(&toolchain),
    )
    .context("building the BPF programs failed; `cargo xtask setup` installs what they need")
}

fn set(variable: &str, value: &str) {
    // SAFETY: this is the only thread of the build script.
    unsafe { std::env::set_var(variable, value) };
}

fn toolchain() -> String {
    println!("cargo:rerun-if-env-changed=OGHA_BPF_TOOLCHAIN");
    // Watching a file that is not there would mean to build again each time.
    if Path::new(CHOICE).exists() {
        println!("cargo:rerun-if-changed={CHOICE}");
    }
    let asked = std::env::var("OGHA_BPF_TOOLCHAIN").ok();
    let chosen = || std::fs::read_to_string(CHOICE).ok();
    let name = asked.or_else(chosen).unwrap_or_default().trim().to_owned();
    if name.is_empty() { "nightly".to_owned() } else { name }
}
