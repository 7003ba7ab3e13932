//! The host: privileges, the kernel, the clock, files, interfaces, and who else holds the addresses.

use std::{
    fs::{self, File},
    io::Write as _,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::Findings;
use crate::{
    config::Instance,
    kernel,
    net::{interface::Interface, probe::Key},
};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";
/// What a flush may take before it is a part of each failover that people notice.
const SLOW_FLUSH: Duration = Duration::from_millis(20);
const FLUSHES: usize = 9;
/// A clock that runs so much wrong, in parts per million, leaves little of the margin of 1 part in
/// 1000 that each wait has.
const WRONG_CLOCK: f64 = 400.0;

pub(super) fn examine(findings: &mut Findings) {
    findings.check("privileges suffice", kernel::privileges());
    if fs::metadata(BTF).is_ok() {
        findings.ok("the kernel has type information (BTF)");
    } else {
        findings.fail(format!("{BTF} is missing; use a kernel with CONFIG_DEBUG_INFO_BTF=y"));
    }
    examine_clock(findings);
}

/// Leases are counted by a clock that nobody sets, but whose rate is steered.
fn examine_clock(findings: &mut Findings) {
    // SAFETY: all zeros is a value of this plain struct; `modes` 0 only reads, and the pointer is valid.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state < 0 {
        return findings.warn("cannot read the clock's rate; see `timedatectl`");
    }
    // Scaled by 2^16; a tick is 10,000 us where nobody changed it.
    let ppm = timex.freq as f64 / 65536.0 + (timex.tick - 10_000) as f64 * 100.0;
    if ppm.abs() > WRONG_CLOCK {
        findings.fail(format!(
            "the clock is steered by {ppm:.0} parts in a million: leases count on less than 1000 \
             between two nodes; see that time synchronization works"
        ));
    } else if timex.status & libc::STA_UNSYNC != 0 {
        findings.warn(
            "the clock is not synchronized: leases do not mind, but logs and histories of two \
             nodes cannot be compared; install chrony or systemd-timesyncd",
        );
    } else {
        findings.ok(format!("the clock is synchronized, steered by {ppm:.1} parts in a million"));
    }
}

/// The record is written and flushed in the path of each failover.
pub(super) fn examine_state_dir(findings: &mut Findings, state_dir: &Path, runs: bool) {
    if !state_dir.exists() && runs {
        let shown = state_dir.display();
        return findings.fail(format!("{shown} is gone, and an agent runs: make it anew"));
    }
    if !state_dir.exists() {
        return findings.warn(format!("{} is made by the first run", state_dir.display()));
    }
    let shown = state_dir.display();
    let advice = || format!("cannot write to {shown}: make room, or choose another state_dir");
    match flush_time(state_dir).with_context(advice) {
        Ok(time) if time > SLOW_FLUSH => findings.warn(format!(
            "a flush in {shown} takes {:.1} ms, in each failover; a disk with a write cache that \
             survives a power cut is faster",
            time.as_secs_f64() * 1000.0
        )),
        Ok(time) => {
            findings.ok(format!("a flush in {shown} takes {:.1} ms", time.as_secs_f64() * 1000.0));
        }
        Err(e) => findings.fail(format!("{e:#}")),
    }
}

/// The median of some flushes of a sector.
fn flush_time(directory: &Path) -> anyhow::Result<Duration> {
    let path = directory.join("doctor.tmp");
    let measure = || -> std::io::Result<Vec<Duration>> {
        let mut file = File::create(&path)?;
        let mut times = Vec::new();
        for _ in 0..FLUSHES {
            file.write_all(&[0; 512])?;
            let began = Instant::now();
            file.sync_data()?;
            times.push(began.elapsed());
        }
        Ok(times)
    };
    let measured = measure();
    // What can't be removed was not made.
    let _ = fs::remove_file(&path);
    let mut times = measured?;
    times.sort();
    Ok(times[FLUSHES / 2])
}

pub(super) fn examine_instance(findings: &mut Findings, instance: &Instance, runs: bool) {
    match Interface::find(&instance.interface) {
        Ok(interface) if interface.is_running() => {
            findings.ok(format!("interface {} is up", instance.interface));
        }
        Ok(_) => findings.fail(format!(
            "interface {0} has no carrier or is down; `ip link set {0} up`, and see its cable",
            instance.interface
        )),
        Err(e) => findings.fail(format!("{e:#}")),
    }
    if instance.database.server().is_some() {
        let key = &instance.liveness.key_file;
        findings.check(format!("key {}", key.display()), Key::load(key).map(drop));
    }
    let vips: Vec<_> = instance.virtual_addresses.iter().map(|vip| vip.address).collect();
    examine_keepalived(findings, &vips);
    for vip in vips.iter().filter(|_| !runs) {
        if Interface::having(*vip).is_ok() {
            findings.fail(format!(
                "{vip} is on this host, and no agent runs that put it there: take it out of the \
                 network's configuration, or stop what else holds it"
            ));
        }
    }
}

/// Two that move one address make two holders of it.
fn examine_keepalived(findings: &mut Findings, vips: &[IpAddr]) {
    let text = fs::read_to_string(KEEPALIVED).unwrap_or_default();
    let named = |vip: &&IpAddr| {
        let vip = vip.to_string();
        let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, '/' | '{' | '}'));
        words.any(|word| word == vip)
    };
    let Some(vip) = vips.iter().find(named) else { return };
    if is_running("keepalived") {
        findings.fail(format!(
            "keepalived runs here, and {KEEPALIVED} names {vip} too: stop and disable it"
        ));
    } else {
        findings.warn(format!("{KEEPALIVED} names {vip} too: disable keepalived"));
    }
}

fn is_running(program: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names =
        processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.any(|name| name.trim() == program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_measured_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        flush_time(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(flush_time(&directory.path().join("none")).is_err());
    }

    #[test]
    fn a_process_is_known_by_its_name() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(is_running(own.trim()));
        assert!(!is_running("no-such-program"));
    }
}
