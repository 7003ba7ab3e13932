//! Waiting for a promotion to be seen.

use std::{fs, io, path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

/// How long a promotion may take before it is given up: a standby first replays all that it has
/// received.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks. One look costs the server about a tenth of a millisecond.
const POLL: Duration = Duration::from_millis(2);

/// Returns when the database was seen to accept writes. After each look that found it does not,
/// it is given a `nudge`.
pub async fn seen<'a>(writable: impl Fn() -> BoxFuture<'a, bool>, nudge: impl Fn()) {
    while !writable().await {
        nudge();
        sleep(POLL).await;
    }
}

/// The file that asks a standby to promote itself. A hung standby finds it when it wakes up, hours
/// later perhaps, next to another primary. So it is removed whenever a promotion was not seen,
/// also when the waiting future is dropped.
#[derive(Debug)]
pub struct Trigger {
    path: PathBuf,
    keep: bool,
}

impl Trigger {
    /// Guards the file, which need not be there yet.
    #[must_use]
    pub const fn guard(path: PathBuf) -> Self {
        Self { path, keep: false }
    }

    /// The promotion was seen: the server removes the file itself.
    pub fn done(mut self) {
        self.keep = true;
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        match fs::remove_file(&self.path) {
            Ok(()) => tracing::info!("removed {}: the promotion is off", self.path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(
                "cannot remove {}: {error}; remove it by hand, or the standby may promote itself later",
                self.path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_taken_back_unless_the_promotion_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failover");
        fs::write(&path, "").unwrap();
        Trigger::guard(path.clone()).done();
        assert!(path.exists());
        drop(Trigger::guard(path.clone()));
        assert!(!path.exists());
    }
}
