//! Doing what was planned.

use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use super::{
    plan::{LINKER, Step},
    toolchain::{self, DEBIAN},
};
use crate::{cargo, root};

/// The package whose service would start with the machine, on the ports that its clients know.
const ETCD: &str = "etcd-server";
/// Whether packages may start services.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Lines of a failed command's output that are worth showing.
const TAIL: usize = 20;

/// Does one step.
pub fn apply(step: &Step) -> Result<()> {
    match step {
        Step::Toolchain { name, installed, fallback } => toolchain(name, *installed, *fallback),
        Step::Components(names) => quiet(rustup(&["component", "add"]).args(names)),
        Step::Packages(packages) => {
            install(&packages.iter().map(|(name, _)| *name).collect::<Vec<_>>())
        }
        Step::Linker { llvm, .. } => linker(llvm.as_deref()),
        Step::Bpffs => {
            bpffs();
            Ok(())
        }
    }
}

/// From Rust's own server; else, unless the user asked for this very one, from Debian.
fn toolchain(name: &str, installed: bool, fallback: bool) -> Result<()> {
    let done = if installed {
        quiet(rustup(&["component", "add", "rust-src", "--toolchain"]).arg(name))
    } else {
        let profile = ["toolchain", "install", "--no-self-update", "--profile", "minimal"];
        quiet(rustup(&profile).args(["--component", "rust-src", name]))
    };
    let taken = match done {
        Ok(()) => name,
        Err(error) if fallback => {
            println!("setup: rustup cannot get it; taking Debian's compiler instead");
            debian().with_context(|| format!("neither worked; first, {error:#}"))?;
            DEBIAN
        }
        Err(error) => return Err(error),
    };
    println!("setup: the BPF programs will be built by `{taken}`");
    toolchain::remember(taken)
}

/// Debian's own compiler for its browsers, which is recent and comes with the source of `core`.
fn debian() -> Result<()> {
    let packages = ["rustc-web", "cargo-web", "rust-web-src"];
    if !root::is_root() {
        bail!("as root: `apt-get install {}`, then once more", packages.join(" "));
    }
    install(&packages)?;
    quiet(&mut rustup(&["toolchain", "link", DEBIAN, "/usr"]))?;
    match toolchain::look(DEBIAN) {
        Some(found) if found.fits && found.has_source => Ok(()),
        found => bail!("Debian's compiler does not fit: {found:?}"),
    }
}

/// Lists of packages that are missing or old make the first attempt fail: then they are fetched.
fn install(packages: &[&str]) -> Result<()> {
    let quiet_services = Services::keep_stopped();
    let attempt = || {
        let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
        quiet(install.args(packages))
    };
    if attempt().is_err() {
        quiet(&mut apt(&["update"]))?;
        attempt()?;
    }
    drop(quiet_services);
    if packages.contains(&ETCD) {
        // Nor shall it start with the machine.
        quiet(Command::new("update-rc.d").args(["etcd", "disable"]))?;
    }
    Ok(())
}

/// While it lives, no package starts its service: the lab runs servers of its own, and a machine that
/// only builds ogha wants none.
struct Services {
    made: bool,
}

impl Services {
    /// By the file that Debian asks before a package starts a service (invoke-rc.d(8)). An
    /// administrator's own is left as it is; without either, the services start, and do no harm.
    fn keep_stopped() -> Self {
        let Ok(mut file) = File::create_new(POLICY) else { return Self { made: false } };
        let _ = file.write_all(b"#!/bin/sh\nexit 101\n");
        let _ = file.set_permissions(Permissions::from_mode(0o755));
        Self { made: true }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_file(POLICY);
        }
    }
}

fn apt(arguments: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--option", "DPkg::Lock::Timeout=600"]).args(arguments);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn rustup(arguments: &[&str]) -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(arguments).env("RUST_BACKTRACE", "0");
    rustup
}

fn linker(llvm: Option<&Path>) -> Result<()> {
    let prefix = llvm.map_or_else(|| PathBuf::from("/usr/lib/llvm-22"), Path::to_owned);
    let mut install = cargo::cargo();
    install.args(["install", "bpf-linker", "--locked", "--force"]);
    install.args(["--version", &format!("^{LINKER}"), "--no-default-features"]);
    install.args(["--features", "llvm-22"]).env("LLVM_PREFIX", prefix);
    // A build of its own: in ours it would wait for the lock that we may hold.
    install.env_remove("CARGO_TARGET_DIR");
    quiet(&mut install)
}

/// Containers may forbid it; the commands that need it say so themselves.
fn bpffs() {
    let none: Option<&str> = None;
    if let Err(error) = mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none) {
        println!("setup: it cannot be mounted here ({error}); going on without");
    }
}

/// Runs without a word, unless it fails: then its last words are in the error.
fn quiet(command: &mut Command) -> Result<()> {
    let output =
        command.output().with_context(|| format!("cannot run {}", cargo::show(command)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
    bail!("{} failed ({}):\n    {tail}", cargo::show(command), output.status)
}
