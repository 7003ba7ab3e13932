//! Links: what ties a program to its place, pinned so that it outlives the agent.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aya::{
    programs::{
        BtfTracePoint, LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::{FdLink, LinkError, PinnedLink},
        tc::{TcAttachOptions, qdisc_detach_program},
    },
    sys::SyscallError,
};

use crate::net::interface::Interface;

/// Where links are pinned, under `bpf_dir`.
pub const DIRECTORY: &str = "links";
/// Pins of the tracepoint programs.
pub const TRACEPOINTS: [&str; 2] = ["listener", "exit"];

const XDP: &str = "xdp_";
const NATIVE: &str = "xdp_native_";
const INGRESS: &str = "tcx_ingress_";
const EGRESS: &str = "tcx_egress_";
/// A pin that waits to take the place of another.
pub const SUCCESSOR: &str = "_new";

/// What a pinned link attaches, by the name of its pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinKind {
    /// Generic XDP at the interface of that index.
    Xdp(u32),
    /// Native XDP.
    Native(u32),
    /// TCX, what comes in.
    Ingress(u32),
    /// TCX, what leaves.
    Egress(u32),
    /// A program of the host.
    Tracepoint,
}

impl PinKind {
    /// `None` for a pin that is not ours, or that waits to take the place of another.
    pub fn of(pin: &Path) -> Option<Self> {
        let name = pin.file_name()?.to_str()?;
        if TRACEPOINTS.contains(&name) {
            return Some(Self::Tracepoint);
        }
        let index = |prefix| name.strip_prefix(prefix)?.parse().ok();
        index(NATIVE)
            .map(Self::Native)
            .or_else(|| index(XDP).map(Self::Xdp))
            .or_else(|| index(INGRESS).map(Self::Ingress))
            .or_else(|| index(EGRESS).map(Self::Egress))
    }
}

/// The pins are named by index, for a BPF file system allows no dot, and names of VLAN
/// interfaces have one.
fn pin_of(directory: &Path, prefix: &str, index: u32) -> PathBuf {
    directory.join(format!("{prefix}{index}"))
}

/// What came of attaching XDP.
pub enum Attempt {
    /// The link, which still has to be pinned.
    Attached(FdLink),
    /// Another program is there.
    Taken,
    /// The driver, or the kernel, takes no program there.
    Refused(ProgramError),
}

/// Replaces our program that is pinned for this mode, without a gap. False if there is none.
pub fn replace_xdp(
    program: &mut Xdp,
    directory: &Path,
    mode: XdpMode,
    index: u32,
) -> anyhow::Result<bool> {
    let pin = pin_of(directory, xdp_prefix(mode), index);
    let Some(link) = pinned(&pin)? else { return Ok(false) };
    let result = program.attach_to_link(link.try_into().context("no XDP link is pinned")?);
    let Some(link) = replaced(result, &pin)? else { return Ok(false) };
    // The pin holds it; the program is to forget it, for it may get another.
    program.take_link(link)?;
    Ok(true)
}

/// Attaches the program where none of ours is.
pub fn attach_xdp(
    program: &mut Xdp,
    mode: XdpMode,
    interface: &Interface,
) -> anyhow::Result<Attempt> {
    match program.attach_to_if_index(interface.index, mode) {
        Ok(link) => Ok(Attempt::Attached(program.take_link(link)?.try_into()?)),
        Err(error) if is_taken(&error) => Ok(Attempt::Taken),
        Err(error) => Ok(Attempt::Refused(error)),
    }
}

/// Pins what [`attach_xdp`] has attached.
pub fn pin_xdp(link: FdLink, directory: &Path, mode: XdpMode, index: u32) -> anyhow::Result<()> {
    pin_link(link, &pin_of(directory, xdp_prefix(mode), index))
}

/// Detaches our program of this mode. Returns whether there was one.
pub fn drop_xdp(directory: &Path, mode: XdpMode, index: u32) -> anyhow::Result<bool> {
    remove(&pin_of(directory, xdp_prefix(mode), index))
}

const fn xdp_prefix(mode: XdpMode) -> &'static str {
    if matches!(mode, XdpMode::Driver) { NATIVE } else { XDP }
}

/// Does another program hold the place, in this mode of XDP (EBUSY) or in another (EEXIST)?
fn is_taken(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else { return false };
    matches!(io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// The same at the TCX hook for what comes in, behind XDP.
pub fn ingress(
    program: &mut SchedClassifier,
    directory: &Path,
    interface: &Interface,
) -> anyhow::Result<()> {
    tcx(program, TcAttachType::Ingress, &pin_of(directory, INGRESS, interface.index), interface)
}

/// Removes the program of [`ingress`]. Returns whether there was one.
pub fn drop_ingress(directory: &Path, interface: &Interface) -> anyhow::Result<bool> {
    remove(&pin_of(directory, INGRESS, interface.index))
}

/// The same at the TCX hook for what leaves.
pub fn egress(
    program: &mut SchedClassifier,
    directory: &Path,
    interface: &Interface,
) -> anyhow::Result<()> {
    tcx(program, TcAttachType::Egress, &pin_of(directory, EGRESS, interface.index), interface)
}

/// Before other programs, which might end the chain.
fn tcx(
    program: &mut SchedClassifier,
    hook: TcAttachType,
    pin: &Path,
    Interface { name, .. }: &Interface,
) -> anyhow::Result<()> {
    if let Some(link) = pinned(pin)? {
        let result = program.attach_to_link(link.try_into().context("no TCX link is pinned")?);
        if replaced(result, pin)?.is_some() {
            return Ok(());
        }
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program
        .attach_with_options(name, hook, options)
        .with_context(|| format!("attaching TCX to {name}; it needs Linux 6.6 or later"))?;
    pin_link(program.take_link(link)?.try_into()?, pin)
}

/// Attaches the program, and only then lets go of the one that was there: for a moment both see
/// the same events, which is harmless, while a gap would not be.
pub fn tracepoint(program: &mut BtfTracePoint, directory: &Path, name: &str) -> anyhow::Result<()> {
    let link = program.attach().with_context(|| format!("attaching the tracepoint of {name}"))?;
    let successor = directory.join(format!("{name}{SUCCESSOR}"));
    remove(&successor)?;
    pin_link(program.take_link(link)?.into(), &successor)?;
    fs::rename(&successor, directory.join(name)).with_context(|| format!("pinning {name}"))
}

/// Detaches all but what belongs to these interfaces and to the host: what was for interfaces that
/// are gone or no longer used, and what an older version or a start that was cut short has left.
pub fn drop_stale(directory: &Path, interfaces: &[Interface]) -> anyhow::Result<()> {
    let used = |name: &str| {
        TRACEPOINTS.contains(&name)
            || interfaces.iter().any(|interface| {
                [EGRESS, INGRESS, NATIVE, XDP].iter().any(|prefix| {
                    name.strip_prefix(prefix) == Some(interface.index.to_string().as_str())
                })
            })
    };
    for path in entries(directory)? {
        if !used(&path.file_name().unwrap_or_default().to_string_lossy()) {
            tracing::info!(link = %path.display(), "detaching what is no longer used");
            remove(&path)?;
        }
    }
    Ok(())
}

/// Detaches the programs that an older version has attached without a link, which outlive it
/// unseen and pile up. Where there are none, the kernel says so, and that is all.
pub fn drop_clsact(interface: &Interface) {
    for (hook, program) in
        [(TcAttachType::Ingress, "ogha_ingress"), (TcAttachType::Egress, "ogha_egress")]
    {
        if qdisc_detach_program(&interface.name, hook, program).is_ok() {
            tracing::info!(interface = interface.name, program, "detached from clsact");
        }
    }
}

/// The ids of the programs that the pinned links attach.
pub fn programs(directory: &Path) -> anyhow::Result<HashSet<u32>> {
    let mut programs = HashSet::new();
    for path in entries(directory)? {
        if let Ok(Some(link)) = pinned(&path)
            && let Ok(info) = link.info()
        {
            programs.insert(info.program_id());
        }
    }
    Ok(programs)
}

/// Detaches everything. Returns how many pins there were.
pub fn drop_all(directory: &Path) -> anyhow::Result<usize> {
    let mut removed = 0;
    for path in entries(directory)? {
        removed += usize::from(remove(&path)?);
    }
    Ok(removed)
}

/// Removes a pin. Returns whether it was there.
pub fn remove(pin: &Path) -> anyhow::Result<bool> {
    match fs::remove_file(pin) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("removing {}", pin.display())),
    }
}

/// What is in a directory; nothing if there is none.
pub fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing,
    };
    listing
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("listing {}", directory.display()))
}

fn pinned(pin: &Path) -> anyhow::Result<Option<FdLink>> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(link.into())),
        Err(LinkError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("opening {}", pin.display())),
    }
}

/// Did the pinned link take the new program? If its interface is gone, and this is another of the
/// same index, the pin is removed instead.
fn replaced<T>(result: Result<T, ProgramError>, pin: &Path) -> anyhow::Result<Option<T>> {
    match result {
        Ok(link) => Ok(Some(link)),
        Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
            if io_error.raw_os_error() == Some(libc::ENOLINK) =>
        {
            remove(pin)?;
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("replacing {}", pin.display())),
    }
}

fn pin_link(link: FdLink, pin: &Path) -> anyhow::Result<()> {
    link.pin(pin).map(drop).with_context(|| format!("pinning {}", pin.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_known_by_its_name() {
        let of = |name: &str| PinKind::of(&Path::new("/sys/fs/bpf/ogha/links").join(name));
        assert_eq!(of("xdp_7"), Some(PinKind::Xdp(7)));
        assert_eq!(of("xdp_native_7"), Some(PinKind::Native(7)));
        assert_eq!(of("tcx_ingress_12"), Some(PinKind::Ingress(12)));
        assert_eq!(of("tcx_egress_12"), Some(PinKind::Egress(12)));
        assert_eq!(of("exit"), Some(PinKind::Tracepoint));
        for other in ["exit_new", "xdp_7_new", "xdp_", "else"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
