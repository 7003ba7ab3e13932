//! What is done before somebody else starts the server: it must not come up writable.
//!
//! `ogha-agent guard` runs in the server's own unit, before the server. It fences a server that is
//! not a standby, unless the agent has just ordered the start: then there is a *permit* in the data
//! directory, for this boot and some seconds. Its owner could start the server without any of
//! this, so the permit gives him nothing.

use std::{path::Path, time::Duration};

use anyhow::Context as _;

use super::{
    super::{Guarded, files, local::Local},
    Postgresql, power,
};
use crate::clock;

/// The permit, in the data directory.
const PERMIT: &str = "ogha.start";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

impl Postgresql {
    /// The server may be started as a primary within that time, once.
    pub(super) async fn permit(&self, within: Duration) -> anyhow::Result<()> {
        let until = clock::now() + within;
        let text = format!("{} {}\n", boot()?, until.ns());
        let path = self.data_dir().join(PERMIT);
        self.local.act(move || files::replace(&path, text.as_bytes())).await
    }

    /// Takes a permit back that has not been used.
    pub(super) async fn forbid(&self) {
        let path = self.data_dir().join(PERMIT);
        if let Err(error) = self.local.act(move || files::remove(&path)).await {
            tracing::warn!("{error:#}; it ends by itself");
        }
    }
}

/// Fences the server before its start, unless it is a standby, was ordered by the agent, or
/// `primary` says that it is to be the primary.
///
/// # Errors
/// If the fence cannot be written: then the server must not start.
pub(in crate::database) async fn guard(
    local: &Local,
    primary: impl FnOnce() -> bool,
) -> anyhow::Result<Guarded> {
    let dir = local.server.data_dir.clone();
    if !local.as_owner(|| files::exists(&dir.join("PG_VERSION")))? {
        return Ok(Guarded::NoDatabase);
    }
    let permitted = local.act(move || {
        if files::read(&dir.join(power::STANDBY))?.is_some() {
            return Ok(Some(Guarded::Standby));
        }
        let path = dir.join(PERMIT);
        let permit = files::read(&path)?;
        files::remove(&path)?;
        let valid = permit.is_some_and(|text| is_valid(&String::from_utf8_lossy(&text)));
        Ok(valid.then_some(Guarded::Ordered))
    });
    if let Some(guarded) = permitted.await? {
        return Ok(guarded);
    }
    if primary() {
        return Ok(Guarded::Primary);
    }
    let path = local.server.data_dir.join(power::STANDBY);
    let fence = move || match files::replace(&path, power::FENCE.as_bytes()) {
        Ok(()) => Ok(Guarded::Fenced),
        // The agent may have done the same at this moment: what counts is that the file is there.
        Err(error) => match files::read(&path) {
            Ok(Some(_)) => Ok(Guarded::Fenced),
            _ => Err(error),
        },
    };
    local.act(fence).await
}

fn boot() -> anyhow::Result<String> {
    let bytes = files::begin(Path::new(BOOT), 64)?.context("the kernel names no boot")?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn is_valid(permit: &str) -> bool {
    let Some((of, until)) = permit.trim().split_once(' ') else { return false };
    let ends: u64 = until.parse().unwrap_or(0);
    boot().is_ok_and(|boot| boot == of) && clock::now().ns() < ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_for_this_boot_and_a_time() {
        let (boot, now) = (boot().unwrap(), clock::now().ns());
        assert!(is_valid(&format!("{boot} {}\n", now + 10_000_000_000)));
        assert!(!is_valid(&format!("{boot} {}\n", now - 1)));
        assert!(!is_valid(&format!("00000000-0000-0000-0000-000000000000 {}\n", u64::MAX)));
        for text in ["", "x", " ", "x y z"] {
            assert!(!is_valid(text), "{text:?}");
        }
    }
}
