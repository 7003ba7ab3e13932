//! What is there, and what is not.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::toolchain::{self, Toolchain};
use crate::root;

/// The programs of the lab's databases.
const POSTGRESQL: &str = "/usr/lib/postgresql/15/bin";

/// What setup knows of this machine. Nothing here changes anything.
#[derive(Clone, Debug)]
pub struct Machine {
    /// May packages be installed and file systems be mounted?
    pub root: bool,
    /// Is this Debian, or one of its children?
    pub apt: bool,
    /// Is rustup there?
    pub rustup: bool,
    /// The compiler that the user asked for.
    pub asked: Option<String>,
    /// The compilers for the BPF programs that are there, the best first.
    pub toolchains: Vec<Toolchain>,
    /// Components of the workspace's own compiler that are missing.
    pub components: Vec<&'static str>,
    /// The version of bpf-linker.
    pub linker: Option<String>,
    /// Where LLVM of the linker's version is, with its headers.
    pub llvm: Option<PathBuf>,
    /// Is protoc there, with the files that come with it?
    pub protoc: bool,
    /// Is bpftool there?
    pub bpftool: bool,
    /// Is the server of PostgreSQL 15 there?
    pub postgresql: bool,
    /// Is nft there?
    pub nftables: bool,
    /// Are ip and tc there?
    pub iproute: bool,
    /// Is keepalived there?
    pub keepalived: bool,
    /// Is scapy there, for the system's Python, and libpcap for it?
    pub scapy: bool,
    /// Is etcd there?
    pub etcd: bool,
    /// Is the BPF file system mounted?
    pub bpffs: bool,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// Does the kernel describe its types?
    pub btf: bool,
}

impl Machine {
    /// Looks at this machine.
    pub fn look() -> Self {
        let linker = linker();
        Self {
            root: root::is_root(),
            apt: find("apt-get").is_some(),
            rustup: find("rustup").is_some(),
            asked: toolchain::asked(),
            toolchains: toolchains(),
            components: components(),
            llvm: llvm(),
            linker,
            protoc: protoc(),
            bpftool: find("bpftool").is_some(),
            postgresql: postgresql(),
            nftables: find("nft").is_some(),
            iproute: find("ip").is_some() && find("tc").is_some(),
            keepalived: find("keepalived").is_some(),
            scapy: scapy(),
            etcd: find("etcd").is_some(),
            bpffs: bpffs(),
            kernel: kernel(),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        }
    }

    /// The compiler that builds the BPF programs, if there is one.
    pub fn compiler(&self) -> Option<&str> {
        self.toolchains.iter().find(|t| t.is_ready()).map(|t| t.name.as_str())
    }
}

/// Looks at candidates until one is ready, for each costs a process or two.
fn toolchains() -> Vec<Toolchain> {
    let mut found = Vec::new();
    for name in toolchain::candidates() {
        let seen = toolchain::look(&name);
        let ready = seen.as_ref().is_some_and(Toolchain::is_ready);
        found.extend(seen);
        if ready {
            break;
        }
    }
    found
}

/// A program in `PATH`, or where Debian puts those for root.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Rustfmt and clippy stand beside the cargo that runs us.
fn components() -> Vec<&'static str> {
    let cargo = env::var_os("CARGO").map(PathBuf::from);
    let beside = cargo.as_deref().and_then(Path::parent);
    let there = |program: &str| {
        beside.is_some_and(|folder| folder.join(program).is_file())
            || (beside.is_none() && find(program).is_some())
    };
    let wanted = [("rustfmt", "rustfmt"), ("clippy", "cargo-clippy")];
    wanted.into_iter().filter(|(_, program)| !there(program)).map(|(name, _)| name).collect()
}

/// `bpf-linker --version` says `bpf-linker 0.13.0`; one whose LLVM has gone says nothing.
fn linker() -> Option<String> {
    let answer = output("bpf-linker", &["--version"])?;
    answer.split_whitespace().nth(1).map(str::to_owned)
}

/// Where the user says, where Debian puts it, or where `llvm-config` says.
fn llvm() -> Option<PathBuf> {
    let fixed = [env::var_os("LLVM_PREFIX").map(PathBuf::from), Some("/usr/lib/llvm-22".into())];
    let has_headers = |prefix: &PathBuf| {
        prefix.join("bin/llvm-config").exists() && prefix.join("include/llvm-c").exists()
    };
    fixed.into_iter().flatten().find(has_headers).or_else(|| {
        let ours = |config: &&str| {
            output(config, &["--version"])
                .is_some_and(|v| v.starts_with(&format!("{}.", toolchain::LLVM)))
        };
        let config = ["llvm-config-22", "llvm-config"].into_iter().find(ours)?;
        output(config, &["--prefix"]).map(|prefix| PathBuf::from(prefix.trim()))
    })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let answer = Command::new(program).args(arguments).output().ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// The compiler looks for its own files where it was installed (`/usr/bin/protoc`, `/usr/include`).
fn protoc() -> bool {
    let installed = |program: PathBuf| {
        let prefix = program.ancestors().nth(2).map(Path::to_owned);
        prefix
            .is_some_and(|prefix| prefix.join("include/google/protobuf/descriptor.proto").is_file())
    };
    let asked = env::var_os("PROTOC").map(PathBuf::from);
    asked.or_else(|| find("protoc")).is_some_and(installed)
}

/// The lab takes this very version, from where Debian puts it.
fn postgresql() -> bool {
    ["initdb", "postgres"].iter().all(|program| Path::new(POSTGRESQL).join(program).exists())
}

/// Looked for, not loaded: that takes a second.
fn scapy() -> bool {
    let find = "import ctypes.util as c, importlib.util as u, sys; \
                sys.exit(u.find_spec('scapy') is None or c.find_library('pcap') is None)";
    output("/usr/bin/python3", &["-c", find]).is_some()
}

fn bpffs() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some("/sys/fs/bpf") && words.next() == Some("bpf")
    })
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
