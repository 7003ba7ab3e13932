//! keepalived on a host, to be compared with.

use std::{
    fmt::Write as _, fs, net::Ipv4Addr, path::Path, process::Command, sync::Arc, time::Duration,
};

use anyhow::{Result, ensure};

use super::{Host, host::INTERFACE, process::Process};

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/keepalived";
const NAME: &str = "keepalived";
/// What it logs when it takes the addresses.
const TAKES: &str = "Entering MASTER STATE";

/// A keepalived that speaks VRRP version 3. Dropping it kills it.
#[derive(Debug)]
pub struct Keepalived {
    host: Arc<Host>,
    process: Process,
}

impl Keepalived {
    /// Starts it, as it comes: without real-time priority.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn start(
        host: &Arc<Host>,
        vip: Ipv4Addr,
        priority: u8,
        advert_interval: Duration,
    ) -> Result<Self> {
        let there = Path::new(PROGRAM).is_file();
        ensure!(there, "keepalived is not installed: `cargo xtask setup` does it");
        let directory = host.directory();
        let file = directory.join("keepalived.conf");
        fs::write(&file, configuration(vip, priority, advert_interval))?;
        let mut command = Command::new(PROGRAM);
        command.args(["--dont-fork", "--log-console", "--log-detail", "--no-syslog", "--vrrp"]);
        command.arg("--use-file").arg(file);
        command.arg("--pid").arg(directory.join("keepalived.pid"));
        command.arg("--vrrp_pid").arg(directory.join("vrrp.pid"));
        let process = host.spawn(NAME, command, None)?;
        Ok(Self { host: Arc::clone(host), process })
    }

    /// How often it has taken the addresses.
    ///
    /// # Errors
    /// If it has ended.
    pub fn takeovers(&self) -> Result<usize> {
        ensure!(self.process.is_running(), "{}", self.host.last_words(NAME));
        Ok(fs::read_to_string(self.host.log_path(NAME))?.matches(TAKES).count())
    }
}

fn configuration(vip: Ipv4Addr, priority: u8, advert_interval: Duration) -> String {
    let mut text = String::from("global_defs {\n    vrrp_version 3\n}\nvrrp_instance VI_1 {\n");
    for line in [
        "state BACKUP",
        &format!("interface {INTERFACE}"),
        "virtual_router_id 59",
        &format!("priority {priority}"),
        &format!("advert_int {}", advert_interval.as_secs_f64()),
        &format!("virtual_ipaddress {{\n        {vip}/32\n    }}"),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {line}");
    }
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_in_seconds() {
        let text = configuration(Ipv4Addr::new(192, 0, 2, 10), 90, Duration::from_millis(10));
        assert!(text.lines().any(|line| line.trim() == "advert_int 0.01"), "{text}");
    }
}
