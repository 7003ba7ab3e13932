//! The history: the event timelines of all instances, kept on disk.

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

use ogha_common::units::Term;
use tracing::{debug, info, warn};

use super::timeline::{Timeline, Told};
use crate::control::view::{Failover, FailoverStep};

/// How many timelines are kept in memory and shown.
const KEPT: usize = 200;

/// The timelines of all instances of this agent, the newest last.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    failovers: Vec<Failover>,
    /// The last timeline of each instance.
    last: Vec<(String, Told)>,
    /// The file could not be written when that was last tried.
    failing: Arc<AtomicBool>,
}

impl History {
    /// Reads what earlier agents wrote. A line that can't be read is left out, with a warning:
    /// the history must never keep an agent from starting.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join("history.jsonl");
        let mut failovers = Vec::new();
        if let Ok(file) = std::fs::File::open(&path) {
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(failover) => failovers.push(failover),
                    Err(e) => warn!("{}: cannot read a line: {e}", path.display()),
                }
            }
        }
        failovers.drain(..failovers.len().saturating_sub(KEPT));
        Self { path, failovers, last: Vec::new(), failing: Arc::default() }
    }

    /// The timelines, the newest last.
    pub fn failovers(&self) -> &[Failover] {
        &self.failovers
    }

    /// How many of this instance ended with it serving.
    pub fn count(&self, instance: &str) -> u64 {
        let served =
            |failover: &&Failover| failover.instance == instance && failover.outcome == "serving";
        self.failovers.iter().filter(served).count() as u64
    }

    /// Adds a timeline and appends it to the file, on a thread of its own: a full disk must not hold
    /// the loop. One that failed as the one before did is not added.
    pub fn add(
        &mut self,
        instance: &str,
        timeline: &Timeline<impl Display, impl Display, impl Display>,
    ) {
        let timeline = timeline.told();
        let last = self.last.iter_mut().find(|(name, _)| name == instance);
        if last.as_ref().is_some_and(|(_, last)| timeline.repeats(last)) {
            return debug!(instance, "{}: {}, again", timeline.outcome, timeline.cause);
        }
        let failover = describe(instance, &timeline);
        match last {
            Some((_, last)) => *last = timeline,
            None => self.last.push((instance.to_owned(), timeline)),
        }
        if self.failovers.len() == KEPT {
            self.failovers.remove(0);
        }
        let line = serde_json::to_string(&failover).unwrap_or_default();
        self.failovers.push(failover);
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
                    "cannot write the history {}: {e}; the history is kept in memory only",
                    path.display()
                ),
                Err(_) => {}
            }
        });
    }
}

/// One readable line in the log, one entry in the history.
fn describe(instance: &str, timeline: &Told) -> Failover {
    let Told { cause, outcome, term, .. } = timeline;
    let line =
        |(step, after): &(_, Duration)| format!("{step} +{:.1} ms", micros(*after) as f64 / 1000.0);
    let steps: Vec<String> = timeline.steps.iter().map(line).collect();
    let steps = steps.join(", ");
    if *term == Term::ZERO {
        // A router without a database has no terms.
        info!(instance, "{outcome}: {cause}; {steps}");
    } else {
        info!(instance, %term, "{outcome}: {cause}; {steps}");
    }
    let started = SystemTime::now() - timeline.took;
    Failover {
        instance: instance.to_owned(),
        cause: cause.clone(),
        started: humantime::format_rfc3339_micros(started).to_string(),
        term: term.get(),
        outcome: outcome.clone(),
        steps: timeline
            .steps
            .iter()
            .map(|(step, after)| FailoverStep { step: step.clone(), offset_us: micros(*after) })
            .collect(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
