//! The history: each failover as a story with a cause, steps and an end, kept on disk.

use std::{
    fmt::Display,
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use ogha_common::units::{Instant, Term};
use tracing::{info, warn};

use crate::{
    clock,
    control::view::{Failover, FailoverStep},
};

/// How many stories are kept in memory and shown.
const KEPT: usize = 200;

/// The stories of all instances of this agent, the newest last.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    stories: Vec<Failover>,
    /// The file could not be written when that was last tried.
    failing: Arc<AtomicBool>,
}

/// A story that has not ended.
#[derive(Debug)]
pub struct Story {
    cause: String,
    first_sign: Instant,
    steps: Vec<FailoverStep>,
}

impl History {
    /// Reads what earlier agents wrote. A line that can't be read is left out, with a warning:
    /// the history must never keep an agent from starting.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join("history.jsonl");
        let mut stories = Vec::new();
        if let Ok(file) = std::fs::File::open(&path) {
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(story) => stories.push(story),
                    Err(e) => warn!("{}: a line can't be read: {e}", path.display()),
                }
            }
        }
        stories.drain(..stories.len().saturating_sub(KEPT));
        Self { path, stories, failing: Arc::default() }
    }

    /// The stories, the newest last.
    pub fn stories(&self) -> &[Failover] {
        &self.stories
    }

    /// How many stories of this instance ended with it serving.
    pub fn failovers(&self, instance: &str) -> u64 {
        let served = |story: &&Failover| story.instance == instance && story.outcome == "serving";
        self.stories.iter().filter(served).count() as u64
    }

    /// Adds an ended story and appends it to the file, on a thread of its own: a full disk must
    /// not hold the loop.
    pub fn add(&mut self, story: Failover) {
        if self.stories.len() == KEPT {
            self.stories.remove(0);
        }
        let line = serde_json::to_string(&story).unwrap_or_default();
        self.stories.push(story);
        let (path, failing) = (self.path.clone(), Arc::clone(&self.failing));
        tokio::task::spawn_blocking(move || {
            let append = || -> std::io::Result<()> {
                let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
                file.write_all(format!("{line}\n").as_bytes())
            };
            match append() {
                Ok(()) => failing.store(false, Ordering::Relaxed),
                // Once, for each change of roles would say the same.
                Err(e) if !failing.swap(true, Ordering::Relaxed) => warn!(
                    "cannot write the history {}: {e}; it is kept in memory only",
                    path.display()
                ),
                Err(_) => {}
            }
        });
    }
}

impl Story {
    /// A story begins.
    pub fn begin(cause: impl Display, first_sign: Instant) -> Self {
        Self { cause: cause.to_string(), first_sign, steps: Vec::new() }
    }

    /// A step was taken now.
    pub fn step(&mut self, step: impl Display) {
        self.steps.push(FailoverStep {
            step: step.to_string(),
            offset_us: micros(clock::now().since(self.first_sign)),
        });
    }

    /// The story ends: one readable line in the log, one entry in the history.
    pub fn end(self, instance: &str, term: Term, outcome: impl Display) -> Failover {
        let passed = clock::now().since(self.first_sign);
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|s| format!("{} +{:.1} ms", s.step, s.offset_us as f64 / 1000.0))
            .collect();
        let (cause, steps) = (&self.cause, steps.join(", "));
        if term == Term::ZERO {
            // A router without a database has no terms.
            info!(instance, "{outcome}: {cause}; {steps}");
        } else {
            info!(instance, %term, "{outcome}: {cause}; {steps}");
        }
        Failover {
            instance: instance.to_owned(),
            cause: self.cause,
            started: humantime::format_rfc3339_micros(SystemTime::now() - passed).to_string(),
            term: term.get(),
            outcome: outcome.to_string(),
            steps: self.steps,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
