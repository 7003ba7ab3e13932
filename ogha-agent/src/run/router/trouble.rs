//! What fails again and again, logged when it begins, when its reason changes and when it ends.

use tracing::{error, info};

/// One thing that can fail.
#[derive(Debug)]
pub struct Trouble {
    what: &'static str,
    reason: Option<String>,
}

impl Trouble {
    /// `what` completes the sentence "cannot ..".
    pub const fn new(what: &'static str) -> Self {
        Self { what, reason: None }
    }

    /// Why it failed when it was last tried; `None`: it worked.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// It was tried. Gives its value, if there is one.
    pub fn note<T>(&mut self, instance: &str, result: anyhow::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                if self.reason.take().is_some() {
                    info!(instance, "can {} again", self.what);
                }
                Some(value)
            }
            Err(e) => {
                let reason = format!("{e:#}");
                if self.reason.as_ref() != Some(&reason) {
                    error!(instance, "cannot {}: {reason}", self.what);
                    self.reason = Some(reason);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_kept_until_it_ends() {
        let mut trouble = Trouble::new("set the gate");
        let failed = |why: &'static str| Err::<(), _>(anyhow::anyhow!(why));
        assert_eq!(trouble.note("VI_1", failed("no map")), None);
        assert_eq!(trouble.reason(), Some("no map"));
        trouble.note("VI_1", failed("no memory"));
        assert_eq!(trouble.reason(), Some("no memory"));
        assert_eq!(trouble.note("VI_1", Ok(7)), Some(7));
        assert_eq!(trouble.reason(), None);
    }
}
