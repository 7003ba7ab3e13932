//! How far a rejoin is, for people.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::{Lost, kept::Kept, process::Listener};

/// A rejoin under way, or how the last one ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// A few words: `stopping`, `comparing histories`, `rewinding`, `copying`, `starting`, `done`,
    /// `failed`.
    pub phase: String,
    /// How much of the phase is done, where that is known: 0 to 100.
    pub percent: Option<u8>,
    /// What only this node had and loses, known before anything is changed. `None`: nothing, or
    /// not known yet.
    pub lost: Option<Lost>,
    /// Why it failed; or why it goes a costlier way than the first that was tried.
    pub why: Option<String>,
    /// All that this rejoin and earlier ones have kept beside the data directory, once it is done.
    pub kept: Vec<Kept>,
}

impl Progress {
    /// Whether the rejoin has ended, well or not.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase.as_str(), "done" | "failed")
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.phase)?;
        self.percent.map_or(Ok(()), |percent| write!(f, " {percent} %"))
    }
}

/// The side that tells.
#[derive(Clone, Debug)]
pub(super) struct Reporter(Arc<watch::Sender<Option<Progress>>>);

impl Reporter {
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<Progress>> {
        self.0.subscribe()
    }

    /// The first phase of a new rejoin. It has failed if the token is dropped before it is done.
    pub fn begin(&self) -> Running {
        self.0
            .send_replace(Some(Progress { phase: "preparing".to_owned(), ..Progress::default() }));
        Running(self.clone())
    }

    pub fn phase(&self, phase: &str) {
        tracing::info!("rejoin: {phase}");
        self.change(|progress| {
            phase.clone_into(&mut progress.phase);
            progress.percent = None;
        });
    }

    pub fn lost(&self, lost: Lost) {
        self.change(|progress| progress.lost = Some(lost));
    }

    pub fn kept(&self, kept: Vec<Kept>) {
        self.change(|progress| progress.kept = kept);
    }

    /// It goes a costlier way, or has failed: why.
    pub fn because(&self, error: &anyhow::Error) {
        let why = format!("{error:#}");
        self.change(|progress| progress.why = Some(why));
    }

    /// It has failed.
    pub fn failed(&self, error: &anyhow::Error) {
        self.because(error);
        self.phase("failed");
    }

    /// Reads percents in a tool's output: `(27%)`, `35% (`.
    pub fn listener(&self) -> Listener {
        let reporter = self.clone();
        Listener(Arc::new(move |text| {
            if let Some(percent) = percent(text) {
                reporter.change(|progress| progress.percent = Some(percent));
            }
        }))
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        self.0.send_modify(|progress| change(progress.get_or_insert_default()));
    }
}

/// A rejoin that has begun.
#[derive(Debug)]
pub(super) struct Running(Reporter);

impl Running {
    pub fn done(self) {
        self.0.phase("done");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Self(Reporter(sender)) = self;
        sender.send_if_modified(|progress| {
            let progress = progress.get_or_insert_default();
            let over = progress.is_over();
            if !over {
                "failed".clone_into(&mut progress.phase);
                progress.percent = None;
            }
            !over
        });
    }
}

/// The last number before a percent sign.
fn percent(text: &str) -> Option<u8> {
    let before = &text[..text.rfind('%')?];
    let digits = before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    before[digits..].parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_in_the_words_of_three_tools() {
        assert_eq!(percent("  51423/74555 kB (68%) copied"), Some(68));
        assert_eq!(percent("12/50 kB (24%), 0/1 tablespace\n50/50 kB (100%), 1/1"), Some(100));
        assert_eq!(percent("Progress: [====    ] 35% (26228/74555KB). fetch files "), Some(35));
        assert_eq!(percent("nothing"), None);
        assert_eq!(percent("% 1000%"), None);
    }

    #[test]
    fn what_is_given_up_has_failed() {
        let reporter = Reporter::new();
        let seen = reporter.subscribe();
        let running = reporter.begin();
        reporter.phase("copying");
        reporter.listener().0("(7%)");
        assert_eq!(seen.borrow().as_ref().unwrap().to_string(), "copying 7 %");
        drop(running);
        assert_eq!(seen.borrow().as_ref().unwrap().phase, "failed");
        reporter.begin().done();
        assert_eq!(seen.borrow().as_ref().unwrap().phase, "done");
    }
}
