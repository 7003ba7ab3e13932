//! What is to be done, decided without doing it.

use std::{fmt, path::PathBuf};

use super::{
    machine::Machine,
    toolchain::{LLVM, PINNED},
};

/// The versions of bpf-linker that are known to work.
pub const LINKER: &str = "0.13";
/// What is needed where there are no Debian packages.
const PROTOC: &str = "protoc with the files that come with it (PROTOC)";
const POSTGRESQL: &str = "the server of PostgreSQL 15 in /usr/lib/postgresql/15, user `postgres`";
/// TCX came with this kernel.
const OLDEST_KERNEL: (u32, u32) = (6, 6);

/// How much of the machine a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Compile.
    Build,
    /// Compile, and load into the kernel.
    Load,
    /// All that, and the lab and the checks.
    All,
}

/// Something that setup can do. Its `Display` says what, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A compiler for the BPF programs.
    Toolchain {
        /// As rustup calls it.
        name: String,
        /// It is there, and lacks only the source of `core`.
        installed: bool,
        /// Nobody asked for this one, so Debian's will do.
        fallback: bool,
    },
    /// Components of the workspace's own compiler.
    Components(Vec<&'static str>),
    /// Debian packages, each with its reason.
    Packages(Vec<(&'static str, &'static str)>),
    /// bpf-linker; where its LLVM is comes with the packages, if not from here.
    Linker {
        /// LLVM's place, if it is there already.
        llvm: Option<PathBuf>,
        /// The version that is there instead.
        found: Option<String>,
    },
    /// The BPF file system.
    Bpffs,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toolchain { name, installed: true, .. } => {
                write!(f, "rust-src for {name}: `core` is built for the BPF target")
            }
            Self::Toolchain { name, .. } => {
                write!(f, "the Rust toolchain {name} with rust-src: it builds the BPF programs")
            }
            Self::Components(names) => {
                write!(f, "{}: `cargo xtask ci` checks with them", names.join(" and "))
            }
            Self::Packages(packages) => {
                let list: Vec<_> = packages.iter().map(|(p, why)| format!("{p} ({why})")).collect();
                write!(f, "the Debian packages {}", list.join(", "))
            }
            Self::Linker { found, .. } => {
                write!(f, "bpf-linker {LINKER}: it links the BPF programs (a minute or two)")?;
                found.as_ref().map_or(Ok(()), |v| write!(f, "; replaces {v}, which is another"))
            }
            Self::Bpffs => {
                write!(f, "the BPF file system at /sys/fs/bpf: maps and links stay there")
            }
        }
    }
}

/// Steps in their order, then what is left to people.
#[derive(Debug, Default)]
pub struct Plan {
    /// What setup does.
    pub steps: Vec<Step>,
    /// What it cannot do, with the command to type where there is one.
    pub by_hand: Vec<String>,
}

impl Plan {
    /// Is nothing missing?
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.by_hand.is_empty()
    }
}

/// What the machine lacks for the scope.
pub fn plan(machine: &Machine, scope: Scope) -> Plan {
    let mut plan = Plan::default();
    toolchain(machine, &mut plan);
    if scope == Scope::All && !machine.components.is_empty() {
        components(machine, &mut plan);
    }
    let linker_fits = machine.linker.as_ref().is_some_and(|v| v.starts_with(&format!("{LINKER}.")));
    let packages_come = packages(machine, scope, linker_fits, &mut plan);
    if !linker_fits && (machine.llvm.is_some() || packages_come) {
        let (llvm, found) = (machine.llvm.clone(), machine.linker.clone());
        plan.steps.push(Step::Linker { llvm, found });
    }
    if scope >= Scope::Load {
        kernel(machine, &mut plan);
    }
    plan
}

fn toolchain(machine: &Machine, plan: &mut Plan) {
    if !machine.rustup {
        plan.by_hand.push(
            "rustup, which finds the compiler for the BPF programs: https://rustup.rs".to_owned(),
        );
        return;
    }
    let fallback = machine.asked.is_none();
    let step =
        |name: &str, installed| Step::Toolchain { name: name.to_owned(), installed, fallback };
    let fitting = || machine.toolchains.iter().filter(|t| t.fits);
    if machine.compiler().is_some() {
        return;
    }
    if let Some(sourceless) = fitting().next() {
        return plan.steps.push(step(&sourceless.name, true));
    }
    match (&machine.asked, machine.toolchains.first()) {
        (Some(name), Some(_)) => plan.by_hand.push(format!(
            "another OGHA_BPF_TOOLCHAIN: {name} is older than Rust 1.95 or has an LLVM newer than \
             {LLVM}; {PINNED} is known to work"
        )),
        (Some(name), None) => plan.steps.push(step(name, false)),
        (None, _) => plan.steps.push(step(PINNED, false)),
    }
}

fn components(machine: &Machine, plan: &mut Plan) {
    if machine.rustup {
        plan.steps.push(Step::Components(machine.components.clone()));
    } else {
        plan.by_hand.push(format!("{} for your Rust compiler", machine.components.join(" and ")));
    }
}

/// Returns whether setup itself installs packages.
fn packages(machine: &Machine, scope: Scope, linker_fits: bool, plan: &mut Plan) -> bool {
    let llvm = !linker_fits && machine.llvm.is_none();
    let all = scope == Scope::All;
    let mut missing = Vec::new();
    for (wanted, package, why, elsewhere) in [
        (
            llvm,
            "llvm-22-dev",
            "bpf-linker is built on it",
            "LLVM 22 with its headers (LLVM_PREFIX)",
        ),
        (
            !machine.protoc,
            "protobuf-compiler",
            "the client of etcd compiles etcd's protocol with it",
            PROTOC,
        ),
        // Elsewhere they are one.
        (!machine.protoc && machine.apt, "libprotobuf-dev", "protoc's own files", PROTOC),
        (all && !machine.bpftool, "bpftool", "the tests look at the maps with it", "bpftool"),
        (all && !machine.postgresql, "postgresql-15", "the lab's databases", POSTGRESQL),
        (all && !machine.nftables, "nftables", "the lab cuts networks with it", "nft"),
        (all && !machine.iproute, "iproute2", "the lab changes hosts by hand with it", "ip and tc"),
        (all && !machine.keepalived, "keepalived", "a bench compares with it", "keepalived"),
        (all && !machine.scapy, "python3-scapy", "a test forges probes with it", "scapy"),
        (all && !machine.scapy, "libpcap0.8", "scapy filters what it hears by it", "libpcap"),
        (all && !machine.etcd, "etcd-server", "the lab's arbiters", "etcd 3.4 or later"),
    ] {
        if wanted {
            missing.push((package, why));
        }
        if wanted && !machine.apt {
            plan.by_hand.push(format!("{elsewhere}: {why}"));
        }
    }
    if missing.is_empty() || !machine.apt {
        return false;
    }
    if machine.root {
        plan.steps.push(Step::Packages(missing));
        return true;
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    plan.by_hand.push(format!(
        "Debian packages, as root; then the same command once more:\n      sudo apt-get update && \
         sudo apt-get install --no-install-recommends {}",
        names.join(" ")
    ));
    false
}

fn kernel(machine: &Machine, plan: &mut Plan) {
    let (major, minor) = machine.kernel;
    if machine.kernel < OLDEST_KERNEL {
        let (wanted_major, wanted_minor) = OLDEST_KERNEL;
        plan.by_hand.push(format!(
            "Linux {wanted_major}.{wanted_minor} or later, for TCX; this is {major}.{minor}"
        ));
    }
    if !machine.btf {
        plan.by_hand
            .push("a kernel built with CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux)".to_owned());
    }
    if !machine.bpffs && machine.root {
        plan.steps.push(Step::Bpffs);
    } else if !machine.bpffs {
        plan.by_hand.push("the BPF file system: sudo mount -t bpf bpf /sys/fs/bpf".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::{super::toolchain::Toolchain, *};

    /// Everything is there.
    fn complete() -> Machine {
        Machine {
            root: true,
            apt: true,
            rustup: true,
            asked: None,
            toolchains: vec![nightly(true, true)],
            components: vec![],
            linker: Some("0.13.0".into()),
            llvm: Some("/usr/lib/llvm-22".into()),
            protoc: true,
            bpftool: true,
            postgresql: true,
            nftables: true,
            iproute: true,
            keepalived: true,
            scapy: true,
            etcd: true,
            bpffs: true,
            kernel: (6, 18),
            btf: true,
        }
    }

    /// Debian with rustup's stable toolchain, and nothing else.
    fn fresh() -> Machine {
        Machine {
            toolchains: vec![],
            components: vec!["rustfmt", "clippy"],
            linker: None,
            llvm: None,
            protoc: false,
            bpftool: false,
            postgresql: false,
            nftables: false,
            iproute: false,
            keepalived: false,
            scapy: false,
            etcd: false,
            bpffs: false,
            ..complete()
        }
    }

    fn nightly(fits: bool, has_source: bool) -> Toolchain {
        Toolchain { name: "nightly".into(), fits, has_source }
    }

    fn compiler(name: &str, installed: bool, fallback: bool) -> Step {
        Step::Toolchain { name: name.into(), installed, fallback }
    }

    #[test]
    fn a_complete_machine_needs_nothing() {
        assert!(plan(&complete(), Scope::All).is_empty());
        assert!(plan(&Machine { root: false, ..complete() }, Scope::All).is_empty());
    }

    #[test]
    fn a_fresh_machine_gets_everything_in_an_order_that_works() {
        let plan = plan(&fresh(), Scope::All);
        let [toolchain, components, packages, linker, bpffs] = &plan.steps[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(*toolchain, compiler(PINNED, false, true));
        assert_eq!(*components, Step::Components(vec!["rustfmt", "clippy"]));
        let Step::Packages(packages) = packages else { panic!("{packages:?}") };
        let names: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "llvm-22-dev",
                "protobuf-compiler",
                "libprotobuf-dev",
                "bpftool",
                "postgresql-15",
                "nftables",
                "iproute2",
                "keepalived",
                "python3-scapy",
                "libpcap0.8",
                "etcd-server"
            ]
        );
        assert_eq!(*linker, Step::Linker { llvm: None, found: None });
        assert_eq!(*bpffs, Step::Bpffs);
        assert!(plan.by_hand.is_empty());
    }

    #[test]
    fn each_step_says_what_and_why() {
        for step in plan(&fresh(), Scope::All).steps {
            let said = step.to_string();
            assert!(said.contains(": ") || said.contains('('), "{said}");
        }
        let other = Step::Linker { llvm: None, found: Some("0.10.1".into()) };
        assert!(other.to_string().contains("replaces 0.10.1"));
    }

    #[test]
    fn a_build_needs_no_database_and_no_file_system() {
        let plan = plan(&fresh(), Scope::Build);
        assert_eq!(plan.steps.len(), 3, "{plan:?}");
        let Step::Packages(packages) = &plan.steps[1] else { panic!("{plan:?}") };
        let names: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["llvm-22-dev", "protobuf-compiler", "libprotobuf-dev"]);
    }

    #[test]
    fn a_nightly_without_source_gets_it_and_a_nightly_that_is_too_new_gets_company() {
        let with = |t| plan(&Machine { toolchains: vec![t], ..complete() }, Scope::All).steps;
        assert_eq!(with(nightly(true, false)), [compiler("nightly", true, true)]);
        assert_eq!(with(nightly(false, true)), [compiler(PINNED, false, true)]);
    }

    #[test]
    fn a_compiler_that_was_asked_for_is_taken_or_refused_but_never_replaced() {
        let asked = Machine { asked: Some("nightly".into()), ..complete() };
        let with = |toolchains| plan(&Machine { toolchains, ..asked.clone() }, Scope::All);
        assert_eq!(with(vec![]).steps, [compiler("nightly", false, false)]);
        assert_eq!(with(vec![nightly(true, false)]).steps, [compiler("nightly", true, false)]);
        let refused = with(vec![nightly(false, true)]);
        assert!(refused.steps.is_empty());
        assert!(refused.by_hand[0].contains("OGHA_BPF_TOOLCHAIN"), "{refused:?}");
    }

    #[test]
    fn another_bpf_linker_is_replaced() {
        for version in ["0.10.1", "0.14.0", "0.130.0"] {
            let machine = Machine { linker: Some(version.into()), ..complete() };
            let steps = plan(&machine, Scope::Build).steps;
            assert!(matches!(&steps[..], [Step::Linker { found: Some(v), .. }] if v == version));
        }
    }

    #[test]
    fn who_is_not_root_is_told_the_command() {
        let plan = plan(&Machine { root: false, ..fresh() }, Scope::All);
        assert!(!plan.steps.iter().any(|s| matches!(s, Step::Packages(_) | Step::Linker { .. })));
        let told = plan.by_hand.join("\n");
        assert!(told.contains(
            "sudo apt-get install --no-install-recommends llvm-22-dev protobuf-compiler"
        ));
        assert!(told.contains("sudo mount -t bpf bpf /sys/fs/bpf"), "{told}");
    }

    #[test]
    fn other_systems_are_told_what_to_install() {
        let plan = plan(&Machine { apt: false, rustup: false, ..fresh() }, Scope::All);
        assert_eq!(plan.steps, [Step::Bpffs]);
        let told = plan.by_hand.join("\n");
        for what in [
            "rustup",
            "rustfmt and clippy",
            "LLVM 22",
            "bpftool",
            "PostgreSQL",
            "keepalived",
            "scapy",
            "protoc",
            "etcd",
        ] {
            assert!(told.contains(what), "{what} is not in {told}");
        }
    }

    #[test]
    fn an_old_kernel_and_one_without_type_information_are_named() {
        let old = Machine { kernel: (6, 1), btf: false, ..complete() };
        let told = plan(&old, Scope::Load).by_hand.join("\n");
        assert!(told.contains("this is 6.1") && told.contains("BTF"), "{told}");
        assert!(plan(&old, Scope::Build).is_empty());
    }
}
