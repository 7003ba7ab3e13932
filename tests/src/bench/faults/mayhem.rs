//! Both agents and both databases are killed at once, again and again, at random moments.

use std::{fmt, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::place::{Arbiter, Place};
use crate::lab::clock;

/// How long the pair may take to serve again.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a supervisor starts an agent again.
const RESTART: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Clone, Debug)]
pub struct Mayhem {
    /// How long until writes were acknowledged again, sorted.
    outages: Vec<Duration>,
    /// What was waited for where they were not.
    stuck: Vec<String>,
    /// Acknowledged writes that the last primary does not have.
    lost: usize,
}

pub(super) fn run(times: usize) -> Result<Mayhem> {
    let place = Place::new("mayhem", Arbiter::Etcd, 3)?;
    let pair = &place.pair;
    pair.start_agents()?;
    let writer = pair.writer();
    let (mut outages, mut stuck) = (Vec::new(), Vec::new());
    for time in 0..times {
        // Spread over what a pair does after it came back: it joins, copies, serves.
        thread::sleep(Duration::from_millis(200 + (time as u64 * 739) % 4000));
        for node in &pair.nodes {
            node.agent.kill()?;
            // One that is not up yet has nothing to be killed.
            let _ = node.database.kill();
        }
        let struck = clock::now();
        thread::sleep(RESTART);
        pair.nodes.iter().try_for_each(|node| node.agent.start())?;
        if writer.wait_for(1, PATIENCE).is_ok() {
            outages.push(clock::now().since(struck));
        } else {
            let word = |node: &crate::lab::pair::Node| {
                let instance = node.agent.instance().unwrap_or_default();
                format!("{}: {} ({})", node.host.name(), instance["phase"], instance["waits_for"])
            };
            stuck.push(pair.nodes.iter().map(word).collect::<Vec<_>>().join("; "));
            eprintln!("{}", pair.agents_last_words());
            break;
        }
        eprintln!("mayhem {} of {times}: {:?}", time + 1, outages.last());
    }
    let record = writer.stop()?;
    let serves = |node: &&crate::lab::pair::Node| {
        node.agent.instance().is_ok_and(|instance| instance["phase"] == "serving")
    };
    let server = pair.nodes.iter().find(serves).context("nobody serves in the end")?;
    let lost = record.lost(&server.database)?.len();
    outages.sort_unstable();
    Ok(Mayhem { outages, stuck, lost })
}

impl Mayhem {
    fn median(&self) -> Duration {
        self.outages.get(self.outages.len() / 2).copied().unwrap_or_default()
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "recovered": self.outages.len(),
            "stuck": self.stuck,
            "lost_writes": self.lost,
            "median_ms": super::millis(self.median()),
            "longest_ms": super::millis(self.outages.last().copied().unwrap_or_default()),
        })
    }
}

impl fmt::Display for Mayhem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "everything killed at once: recovered {} times, median {:.0} ms, longest {:.0} ms, \
             {} writes lost",
            self.outages.len(),
            super::millis(self.median()),
            super::millis(self.outages.last().copied().unwrap_or_default()),
            self.lost
        )?;
        self.stuck.iter().try_for_each(|stuck| write!(f, "\nstuck: {stuck}"))
    }
}
