//! Waiting for a promotion to be seen.

use std::{path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::guest::{Owner, as_owner, files};

/// How long a promotion may take before it is given up: a standby first replays all that it has
/// received.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two polls. One poll costs the server about a tenth of a millisecond.
const POLL: Duration = Duration::from_millis(2);

/// Returns when the database was seen to accept writes. After each poll that found it does not,
/// it is given a `nudge`.
pub async fn seen<'a>(writable: impl Fn() -> BoxFuture<'a, bool>, nudge: impl Fn()) {
    while !writable().await {
        nudge();
        sleep(POLL).await;
    }
}

/// The pauses between orders to promote, which grow, and what is logged of those that failed.
#[derive(Debug)]
pub struct Repeat {
    pause: Duration,
    logged: Option<String>,
}

impl Repeat {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    /// Before the first order.
    #[must_use]
    pub const fn new() -> Self {
        Self { pause: Self::FIRST, logged: None }
    }

    /// Waits before the next order.
    pub async fn pause(&mut self) {
        sleep(self.next()).await;
    }

    fn next(&mut self) -> Duration {
        let longer = (self.pause * 2).min(Self::LONGEST);
        std::mem::replace(&mut self.pause, longer)
    }

    /// An order failed: logged when the reason is another one than before.
    pub fn log(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        if self.logged.as_ref() != Some(&text) {
            tracing::warn!("promotion failed and is repeated: {text}");
            self.logged = Some(text);
        }
    }
}

/// The file that asks a standby to promote itself. A hung standby finds it when it wakes up, hours
/// later perhaps, next to another primary. So it is removed whenever a promotion was not seen,
/// also when the waiting future is dropped.
#[derive(Debug)]
pub struct Trigger {
    path: PathBuf,
    owner: Option<Owner>,
    done: bool,
}

impl Trigger {
    /// Guards the file, which need not be there yet.
    #[must_use]
    pub fn guard(path: PathBuf, owner: Option<&Owner>) -> Self {
        Self { path, owner: owner.cloned(), done: false }
    }

    /// The promotion was seen. The server has removed the file, unless the order was repeated after
    /// that; a primary does not look for it.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        let removed = as_owner(self.owner.as_ref(), || files::remove_now(&self.path));
        match removed.flatten() {
            Ok(true) if !self.done => {
                tracing::info!("removed {}: the promotion is cancelled", self.path.display())
            }
            Ok(_) => {}
            Err(error) => tracing::error!(
                "cannot remove {}: {error}; remove it by hand, or the standby may promote itself later",
                self.path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn pauses_grow_to_a_second() {
        let mut repeat = Repeat::new();
        let pauses: Vec<_> = (0..7).map(|_| repeat.next().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn no_trigger_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failover");
        fs::write(&path, "").unwrap();
        Trigger::guard(path.clone(), None).done();
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        drop(Trigger::guard(path.clone(), None));
        assert!(!path.exists());
    }
}
