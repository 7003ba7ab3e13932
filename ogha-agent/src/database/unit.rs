//! A server that systemd starts and stops: `unit` in `[instance.database]`.
//!
//! The server then lives in the unit's own cgroup, with its limits and its log, and whoever asks
//! systemd, `pg_lsclusters` or a package's script hears the truth. A fence does not wait for
//! systemd: the server is signalled directly, and systemd is told at the same time that it is to
//! stay down.

use std::{env, ffi::OsString, fmt, path::Path, time::Duration};

use super::{
    local::Local,
    process::{Tool, ToolOutcome},
    stop,
};

/// Found in the agent's `PATH`.
const SYSTEMCTL: &str = "systemctl";
/// How long a call may take that waits for nothing.
const CALL: Duration = Duration::from_secs(5);
/// What systemd may be asked through.
const ENVIRONMENT: [&str; 2] = ["PATH", "DBUS_SYSTEM_BUS_ADDRESS"];

/// A service of systemd, by its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit(String);

impl Unit {
    /// The service of that name; `.service` may be left out. `None` if no service can be called so.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let stem = name.strip_suffix(".service").unwrap_or(name);
        let kinds = [".socket", ".target", ".mount", ".timer", ".path", ".slice", ".scope"];
        let other = kinds.iter().any(|kind| stem.ends_with(kind));
        let whole = !stem.is_empty() && !stem.ends_with('@') && !stem.starts_with(['-', '.', '@']);
        let valid = whole && !other && stem.len() <= 240 && stem.chars().all(known);
        valid.then(|| Self(format!("{stem}.service")))
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Starts it, and waits until systemd says that it runs. Giving up leaves systemd's job alone.
    ///
    /// # Errors
    /// If it fails, or takes longer; systemd's own words are in the error.
    pub async fn start(&self, within: Duration) -> anyhow::Result<()> {
        // After failures systemd may refuse: too many starts. It is no error if there is none.
        drop(self.call(&["reset-failed"], CALL).await);
        // A unit that is still taken for active, its server being dead, would not be started.
        let verb = match self.state().await.as_deref() {
            Ok("active" | "reloading" | "deactivating") => "restart",
            _ => "start",
        };
        self.call(&[verb], within).await?.success(format!("systemctl {verb} {self}"))
    }

    /// Has systemd stop it, and not start it again by itself. Waits for nothing.
    ///
    /// # Errors
    /// If systemd cannot be told.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let told = self.call(&["stop", "--no-block"], CALL).await?;
        told.success(format!("systemctl stop {self}"))
    }

    async fn state(&self) -> anyhow::Result<String> {
        let shown = self.call(&["show", "--property=ActiveState", "--value"], CALL).await?;
        Ok(String::from_utf8_lossy(&shown.stdout).trim().to_owned())
    }

    async fn call(&self, words: &[&str], deadline: Duration) -> anyhow::Result<ToolOutcome> {
        let environment: Vec<(OsString, OsString)> = ENVIRONMENT
            .iter()
            .filter_map(|name| Some((OsString::from(name), env::var_os(name)?)))
            .collect();
        let mut arguments: Vec<OsString> = vec!["--no-ask-password".into()];
        arguments.extend(words.iter().map(OsString::from));
        arguments.extend(["--".into(), OsString::from(&self.0)]);
        let tool = Tool {
            program: Path::new(SYSTEMCTL),
            arguments,
            environment: &environment,
            account: None,
            secrets: Vec::new(),
            listener: None,
            deadline,
        };
        tool.run().await
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// [`stop::immediate`], and systemd hears that the server is to stay down.
///
/// # Errors
/// Those of the stop. What systemd says is only logged: the server is down without it.
pub(super) async fn immediate(local: &Local) -> anyhow::Result<()> {
    let Some(unit) = &local.server.unit else { return stop::immediate(local).await };
    let (stopped, told) = tokio::join!(stop::immediate(local), unit.stop());
    log(unit, told);
    stopped?;
    // systemd may have started it again before it heard.
    stop::immediate(local).await
}

/// [`stop::fence`], and systemd hears that the server is to stay down.
///
/// # Errors
/// Those of the stop.
pub(super) async fn fence(local: &Local) -> anyhow::Result<()> {
    let Some(unit) = &local.server.unit else { return stop::fence(local).await };
    let (stopped, told) = tokio::join!(stop::fence(local), unit.stop());
    log(unit, told);
    stopped?;
    // systemd may have started it again before it heard.
    stop::fence(local).await
}

/// [`stop::fast`], and systemd hears that the server is to stay down.
///
/// # Errors
/// Those of the stop.
pub(super) async fn fast(local: &Local, within: Duration) -> anyhow::Result<()> {
    let Some(unit) = &local.server.unit else { return stop::fast(local, within).await };
    let (stopped, told) = tokio::join!(stop::fast(local, within), unit.stop());
    log(unit, told);
    stopped
}

fn log(unit: &Unit, told: anyhow::Result<()>) {
    if let Err(error) = told {
        tracing::warn!("could not have systemd stop {unit}, which may start it again: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_one_name() {
        for name in ["postgresql@15-main", "postgresql@15-main.service"] {
            assert_eq!(Unit::parse(name).unwrap().name(), "postgresql@15-main.service");
        }
        assert_eq!(Unit::parse(r"pg@a\x2db").unwrap().to_string(), r"pg@a\x2db.service");
        let long = "x".repeat(300);
        for name in
            ["", ".service", "postgresql@", "a b", "../x", "--all", "x.socket", "a/b", &long]
        {
            assert_eq!(Unit::parse(name), None, "{name:?}");
        }
    }
}
