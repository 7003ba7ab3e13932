//! The history: the event timelines of all instances, kept on disk (`file`).

mod file;

use std::{
    fmt::Display,
    path::Path,
    time::{Duration, SystemTime},
};

use ogha_common::units::Term;
use tracing::{debug, info, warn};

use self::file::HistoryFile;
use super::timeline::{Timeline, Told};
use crate::{
    control::view::{Failover, FailoverStep},
    printable,
};

/// How many timelines are kept in memory and shown.
const KEPT: usize = 200;

/// The timelines of all instances of this agent, the newest last.
#[derive(Debug)]
pub struct History {
    file: HistoryFile,
    failovers: Vec<Failover>,
    /// The last timeline of each instance.
    last: Vec<(String, Told)>,
}

impl History {
    /// Reads what earlier agents wrote, from its end. What can't be read is left out, with a warning: the
    /// history must never keep an agent from starting.
    pub fn open(state_dir: &Path) -> Self {
        let (file, lines) = HistoryFile::open(state_dir);
        let mut broken = 0;
        let mut failovers: Vec<_> = lines
            .iter()
            .rev()
            .filter_map(|line| serde_json::from_slice(line).inspect_err(|_| broken += 1).ok())
            .take(KEPT)
            .collect();
        failovers.reverse();
        if broken > 0 {
            warn!("{}: {broken} lines are no timelines and are left out", file.path().display());
        }
        Self { file, failovers, last: Vec::new() }
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

    /// Adds a timeline; the file has it a moment later. One that failed as the one before did is not added.
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
        match printable::json_line(&failover) {
            Ok(line) => self.file.append(line),
            Err(e) => warn!(instance, "cannot write a timeline as JSON: {e}"),
        }
        self.failovers.push(failover);
    }

    /// Waits until all is in the file, at most that long.
    pub fn flush(&self, limit: Duration) {
        self.file.flush(limit);
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
