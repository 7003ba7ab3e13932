//! What fails is tried again with growing pauses, and logged when its reason changes.

use ogha_common::{retry, units::Instant};
use tracing::{error, info};

/// The pauses of what concerns this host alone.
pub type Retry = retry::Retry<100>;

/// Something that may fail again and again: its pauses, and its lines in the log.
#[derive(Debug)]
pub struct Trouble {
    instance: String,
    what: &'static str,
    reason: Option<String>,
    /// The pauses.
    pub retry: Retry,
}

impl Trouble {
    /// Nothing has failed yet. `what` completes the sentence "cannot ..".
    #[must_use]
    pub fn new(instance: &str, what: &'static str) -> Self {
        let instance = instance.to_owned();
        Self { instance, what, reason: None, retry: Retry::default() }
    }

    /// Why it failed when it was last tried; `None`: it has not failed, or works again.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// It was tried. Gives its value, if there is one.
    pub fn note<T>(&mut self, now: Instant, result: anyhow::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.worked();
                Some(value)
            }
            Err(e) => {
                self.failed(now, &format!("{e:#}"));
                None
            }
        }
    }

    /// It has failed. Logged if it had not failed before, or for another reason; says whether.
    pub fn failed(&mut self, now: Instant, reason: &str) -> bool {
        self.retry.failed(now);
        let new = self.reason.as_deref() != Some(reason);
        if new {
            error!(instance = self.instance, "cannot {}: {reason}", self.what);
            self.reason = Some(reason.to_owned());
        }
        new
    }

    /// It works. Logged if it had failed.
    pub fn worked(&mut self) {
        if self.reason.take().is_some() {
            let failures = self.retry.failures();
            info!(instance = self.instance, failures, "can {} again", self.what);
        }
        self.retry.succeeded();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_ns(ms * 1_000_000)
    }

    #[test]
    fn a_reason_is_logged_once_until_it_changes_or_ends() {
        let mut trouble = Trouble::new("VI_1", "set the gate");
        assert!(trouble.failed(ms(0), "no map"));
        assert!(!trouble.failed(ms(1), "no map"));
        assert!(trouble.failed(ms(2), "no memory"));
        assert_eq!(trouble.retry.failures(), 3);
        trouble.worked();
        assert!(trouble.failed(ms(3), "no memory"));
        assert_eq!(trouble.reason(), Some("no memory"));
        assert_eq!(trouble.note(ms(4), Ok(7)), Some(7));
        assert_eq!(trouble.reason(), None);
        assert_eq!(trouble.note(ms(5), Err::<(), _>(anyhow::anyhow!("no map"))), None);
        assert_eq!(trouble.reason(), Some("no map"));
    }
}
