//! Which compiler builds the BPF programs.
//!
//! They need `-Zbuild-std`, so a nightly or a compiler that is told to be one, and its LLVM must
//! not be newer than the linker's. `OGHA_BPF_TOOLCHAIN` names one; else setup looks for one and
//! remembers it in a file, which the agent's build script reads, so that plain `cargo build`
//! takes the same.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::cargo;

/// Names the compiler of the BPF programs, over everything else.
pub const VARIABLE: &str = "OGHA_BPF_TOOLCHAIN";
/// A nightly that is known to work, for when the machine's own is missing or too new.
pub const PINNED: &str = "nightly-2026-05-20";
/// Debian's compiler, linked into rustup, for where Rust's own server cannot be reached.
pub const DEBIAN: &str = "debian";
/// bpf-linker's LLVM: it cannot read the code of a newer one.
pub const LLVM: u32 = 22;
/// The `rust-version` of the workspace, which the BPF programs share: 1.MINOR.
const OLDEST_MINOR: u32 = 95;

/// A toolchain that rustup knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// As rustup calls it.
    pub name: String,
    /// Is it old enough for the linker and new enough for the source?
    pub fits: bool,
    /// Has it the source of `core`?
    pub has_source: bool,
}

impl Toolchain {
    /// Can it build the BPF programs as it is?
    pub fn is_ready(&self) -> bool {
        self.fits && self.has_source
    }
}

/// What the user asked for, by [`VARIABLE`].
pub fn asked() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

/// The compiler that a build takes now.
pub fn bpf_toolchain() -> String {
    asked().or_else(remembered).unwrap_or_else(|| "nightly".to_owned())
}

/// Those worth a try, the best first.
pub fn candidates() -> Vec<String> {
    if let Some(name) = asked() {
        return vec![name];
    }
    let known = ["nightly", PINNED, DEBIAN].map(str::to_owned);
    let mut names: Vec<String> = remembered().into_iter().collect();
    names.extend(known.into_iter().filter(|name| Some(name) != remembered().as_ref()));
    names
}

/// Asks the toolchain; `None` if rustup has none of this name.
pub fn look(name: &str) -> Option<Toolchain> {
    let version = rustc(name, "-vV")?;
    Some(Toolchain {
        name: name.to_owned(),
        fits: fits(&version),
        has_source: sysroot(name)?.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists(),
    })
}

/// Has the toolchain this program beside its compiler?
pub fn has_component(name: &str, program: &str) -> bool {
    sysroot(name).is_some_and(|root| root.join("bin").join(program).exists())
}

/// Writes down the choice; what [`VARIABLE`] asks for is a choice for one call only. An unchanged file stays as it is, for its time decides about
/// building again.
pub fn remember(name: &str) -> Result<()> {
    if asked().is_some() || remembered().as_deref() == Some(name) {
        return Ok(());
    }
    let file = memory();
    let write = || {
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        fs::write(&file, format!("{name}\n"))
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

fn remembered() -> Option<String> {
    let name = fs::read_to_string(memory()).ok()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Always in the checkout, wherever the build goes: the build script looks there.
fn memory() -> PathBuf {
    cargo::workspace().join("target/ogha-bpf-toolchain")
}

fn sysroot(name: &str) -> Option<PathBuf> {
    rustc(name, "--print=sysroot").map(|path| PathBuf::from(path.trim()))
}

/// Asks a toolchain's compiler, without letting rustup install one for the purpose.
fn rustc(name: &str, question: &str) -> Option<String> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", name, "rustc", question]).env("RUSTUP_AUTO_INSTALL", "0");
    let answer = rustc.output().ok().filter(|answer| answer.status.success())?;
    String::from_utf8(answer.stdout).ok()
}

/// `rustc -vV` says `release: 1.97.0-nightly` and `LLVM version: 22.1.4`.
fn fits(version: &str) -> bool {
    let field = |name| version.lines().find_map(|line| line.strip_prefix(name));
    let part = |text: &str, n| text.trim().split(['.', '-']).nth(n)?.parse::<u32>().ok();
    let minor = field("release:").and_then(|release| part(release, 1));
    let llvm = field("LLVM version:").and_then(|llvm| part(llvm, 0));
    minor.is_some_and(|minor| minor >= OLDEST_MINOR) && llvm.is_some_and(|llvm| llvm <= LLVM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_fits_by_its_release_and_its_llvm() {
        let version = |release, llvm| {
            format!("rustc {release}\nhost: x86_64\nrelease: {release}\nLLVM version: {llvm}\n")
        };
        assert!(fits(&version("1.97.0-nightly", "22.1.4")));
        assert!(fits(&version("1.95.0", "22.1")));
        assert!(!fits(&version("1.99.0-nightly", "23.0.0")), "newer than the linker");
        assert!(!fits(&version("1.94.0-nightly", "21.1.0")), "older than the source");
        assert!(!fits("error: toolchain 'nightly' is not installed"));
    }
}
