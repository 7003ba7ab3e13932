//! What must be true before anything is loaded; each failure is one message that says what to do.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use caps::{CapSet, Capability};
use nix::{
    mount::{MsFlags, mount},
    net::if_::if_nametoindex,
    sys::statfs::{FsType, statfs},
};
use ogha_common::maps::MAX_INTERFACES;

use crate::net::interface::Interface;

/// `BPF_FS_MAGIC` of the kernel.
const BPF_FS: FsType = FsType(0xcafe_4a11);
/// Where the BPF file system is mounted by custom.
const BPF_MOUNT: &str = "/sys/fs/bpf";

/// May this process load and attach the programs and send what ogha sends?
///
/// # Errors
///
/// Names the capabilities that are missing.
pub fn privileges() -> anyhow::Result<()> {
    let effective = caps::read(None, CapSet::Effective).context("reading own capabilities")?;
    // The kernel takes CAP_SYS_ADMIN for the two that were split from it.
    let admin = effective.contains(&Capability::CAP_SYS_ADMIN);
    let missing: Vec<String> = [
        (Capability::CAP_BPF, admin),
        (Capability::CAP_PERFMON, admin),
        (Capability::CAP_NET_ADMIN, false),
        (Capability::CAP_NET_RAW, false),
    ]
    .into_iter()
    .filter(|(capability, implied)| !implied && !effective.contains(capability))
    .map(|(capability, _)| capability.to_string())
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "not enough privileges: {} missing; run ogha-agent as root, or give its service \
         AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW",
        missing.join(", ")
    )
}

/// Makes `bpf_dir`, mounting the BPF file system at its usual place if it is not there.
///
/// # Errors
///
/// If the directory is on another file system, or cannot be made.
pub fn bpf_dir(bpf_dir: &Path) -> anyhow::Result<()> {
    ensure!(bpf_dir.is_absolute(), "bpf_dir {} is not an absolute path", bpf_dir.display());
    if !on_bpf_fs(bpf_dir)? && bpf_dir.starts_with(BPF_MOUNT) {
        mount(Some("bpf"), BPF_MOUNT, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| {
                format!(
                    "no BPF file system at {BPF_MOUNT}, and mounting it failed; \
                     as root run: mount -t bpf bpf {BPF_MOUNT}"
                )
            })?;
    }
    ensure!(
        on_bpf_fs(bpf_dir)?,
        "bpf_dir {0} is not on a BPF file system; choose a directory under {BPF_MOUNT}, or as \
         root run: mkdir -p {0} && mount -t bpf bpf {0}",
        bpf_dir.display()
    );
    let make = || -> std::io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(bpf_dir.join(super::links::DIRECTORY))?;
        // It may be there from a version that left it open to others.
        // The usual mount point is others' as well.
        let ours = if bpf_dir == Path::new(BPF_MOUNT) {
            bpf_dir.join(super::links::DIRECTORY)
        } else {
            bpf_dir.to_owned()
        };
        fs::set_permissions(ours, fs::Permissions::from_mode(0o700))
    };
    make().with_context(|| {
        format!(
            "making {}; it must be writable, and a BPF file system allows no dot in a name",
            bpf_dir.display()
        )
    })
}

/// Are the interfaces there, in this network namespace, as they were found?
///
/// # Errors
///
/// Names the interface that is gone, or says that there are too many.
pub fn interfaces<'a>(
    interfaces: impl ExactSizeIterator<Item = &'a Interface>,
) -> anyhow::Result<()> {
    ensure!(
        interfaces.len() <= MAX_INTERFACES,
        "{} interfaces are configured, but ogha handles at most {MAX_INTERFACES}",
        interfaces.len()
    );
    for Interface { name, index, .. } in interfaces {
        match if_nametoindex(name.as_str()) {
            Ok(now) if now == *index => {}
            Ok(_) => bail!("interface {name} was replaced by another of its name; start again"),
            Err(_) => bail!("interface {name} is gone; `ip link` lists those that are there"),
        }
    }
    Ok(())
}

/// Is the directory, or where it would be made, on a BPF file system?
fn on_bpf_fs(directory: &Path) -> anyhow::Result<bool> {
    let existing: PathBuf = directory
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .with_context(|| format!("{} cannot be reached", directory.display()))?
        .to_owned();
    let info = statfs(&existing).with_context(|| format!("looking at {}", existing.display()))?;
    Ok(info.filesystem_type() == BPF_FS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_privileges_are_named_together() {
        let error = std::thread::spawn(|| {
            // Of this thread only.
            caps::clear(None, CapSet::Effective).unwrap();
            privileges().unwrap_err().to_string()
        });
        let error = error.join().unwrap();
        for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_NET_RAW"] {
            assert!(error.contains(capability), "{error}");
        }
    }

    #[test]
    fn another_file_system_is_refused_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let error = bpf_dir(&directory.path().join("ogha")).unwrap_err().to_string();
        assert!(error.contains("mount -t bpf bpf"), "{error}");
        assert!(bpf_dir(Path::new("ogha")).is_err());
    }

    #[test]
    fn an_interface_that_is_gone_is_named() {
        let gone = Interface { name: "ogha-none".to_owned(), index: 9999, mac: [0; 6] };
        let error = interfaces([gone].iter()).unwrap_err().to_string();
        assert!(error.contains("ogha-none"), "{error}");
        let loopback = |index| Interface { name: "lo".to_owned(), index, mac: [0; 6] };
        interfaces([loopback(1)].iter()).unwrap();
        assert!(interfaces([loopback(9999)].iter()).is_err());
    }
}
