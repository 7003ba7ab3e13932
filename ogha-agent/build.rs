//! Builds the BPF programs and leaves the object in `OUT_DIR`, so that plain `cargo build` is
//! enough. `OGHA_BPF_TOOLCHAIN` names another toolchain than `nightly`.

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed=OGHA_BPF_TOOLCHAIN");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../ogha-ebpf");
    let toolchain = std::env::var("OGHA_BPF_TOOLCHAIN").unwrap_or_else(|_| "nightly".to_owned());
    aya_build::build_ebpf(
        [Package { name: "ogha-ebpf", root_dir: root, ..Default::default() }],
        Toolchain::Custom(&toolchain),
    )
    .context("building the BPF programs failed; `cargo xtask setup` installs what they need")
}
