//! The kernel: its version, its type information, what it lets programs read, and where they are pinned.

use std::{fs, path::Path};

use super::Findings;
use crate::kernel;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const JIT: &str = "/proc/sys/net/core/bpf_jit_enable";
/// The oldest that the programs are loaded by.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn examine(findings: &mut Findings, bpf_dir: &Path) {
    findings.check("privileges suffice", kernel::privileges());
    match nix::sys::utsname::uname() {
        Ok(name) => version(findings, &name.release().to_string_lossy()),
        Err(e) => findings.warn(format!("cannot ask the kernel for its version: {e}")),
    }
    if fs::metadata(BTF).is_ok() {
        findings.ok("the kernel has type information (BTF)");
    } else {
        findings.fail(format!("{BTF} is missing; use a kernel with CONFIG_DEBUG_INFO_BTF=y"));
    }
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    limits(findings, &read(LOCKDOWN), &read(JIT));
    match kernel::pins_well(bpf_dir) {
        Ok(None) => findings.ok(format!("{} is on a BPF file system", bpf_dir.display())),
        Ok(Some(costs)) => findings.warn(costs),
        Err(e) => findings.fail(format!("{e:#}")),
    }
}

fn version(findings: &mut Findings, release: &str) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => findings.fail(format!(
            "kernel {release} is older than {}.{}, the oldest that ogha's programs run on: install a \
             newer one",
            OLDEST.0, OLDEST.1
        )),
        (Some(Ok(_)), Some(Ok(_))) => findings.ok(format!("kernel {release} is new enough")),
        _ => findings.warn(format!("cannot tell how old kernel {release:?} is")),
    }
}

fn limits(findings: &mut Findings, lockdown: &str, jit: &str) {
    if lockdown.contains("[confidentiality]") {
        findings.fail(format!(
            "the kernel is locked down for confidentiality ({LOCKDOWN}), so that no BPF program may read \
             its memory, as the death watch does: boot with lockdown=integrity"
        ));
    }
    if jit.trim() == "0" {
        findings.warn(
            "BPF programs are interpreted: `sysctl -w net.core.bpf_jit_enable=1` makes them fast",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn levels(examine: impl FnOnce(&mut Findings)) -> Vec<Level> {
        let mut findings = Findings::default();
        examine(&mut findings);
        findings.all.into_iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn an_old_kernel_fails() {
        let level = |release| levels(|findings| version(findings, release));
        assert_eq!(level("5.4.0-150-generic"), [Level::Fail]);
        assert_eq!(level("4.19"), [Level::Fail]);
        assert_eq!(level("5.10.0-28-amd64"), [Level::Ok]);
        assert_eq!(level("6.1.0"), [Level::Ok]);
        assert_eq!(level("strange"), [Level::Warn]);
    }

    #[test]
    fn what_the_kernel_forbids_is_told() {
        let level = |lockdown, jit| levels(|findings| limits(findings, lockdown, jit));
        assert_eq!(level("[none] integrity confidentiality\n", "1\n"), []);
        assert_eq!(level("none integrity [confidentiality]\n", ""), [Level::Fail]);
        assert_eq!(level("", "0\n"), [Level::Warn]);
    }
}
