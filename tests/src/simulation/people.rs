//! When all faults are over: who looks whether all is well, and does what a core waits for.

use ogha_common::{
    failover::{Command, PhaseName, Wait},
    units::Instant,
};

use super::{
    MAX,
    clock::MS,
    faults::Fault,
    plan::Violation,
    world::{Event, World},
};

/// How often somebody looks.
const LOOK_EVERY: u64 = 50 * MS;
/// How long a core waits before somebody does what it waits for.
const PATIENCE: u64 = 1500 * MS;
/// For how long all may be silent about why nobody serves.
const MUTE: u64 = 20_000 * MS;
/// How long all may take to be well again.
const DEADLINE: u64 = 60_000 * MS;

/// What cores wait for, and what was done.
#[derive(Clone, Debug, Default)]
pub struct People {
    waits: [Option<(Wait, u64)>; MAX],
    /// How often each kind of help was needed: starting, rejoining, resuming, forcing.
    pub helped: [u64; 4],
    /// Somebody serves since.
    served_since: Option<u64>,
    /// Nobody serves since then, and no node says what it waits for.
    mute_since: Option<u64>,
}

impl World {
    /// Whether all is well.
    pub fn check(&mut self) {
        let serving = (0..self.nodes.len()).find(|&node| self.is_open(node));
        let serving = serving.filter(|&node| self.nodes[node].database.writes());
        self.people.served_since = serving.and(self.people.served_since.or(Some(self.now)));
        let late = self.now - self.ledger.healed_at > DEADLINE;
        if let Some(node) = serving {
            let complete = self.is_complete(node);
            if complete || late {
                self.settled = true;
                self.check_log(node);
                if !complete {
                    self.violated(Violation::NobodyServes("not all nodes are in sync again"));
                }
                return;
            }
        } else if late {
            let why =
                if self.must_recover() { "nobody serves" } else { "nobody serves, with help" };
            return self.violated(Violation::NobodyServes(why));
        }
        if self.is_mute(serving) {
            return self.violated(Violation::NobodyServes("nobody serves, and no status says why"));
        }
        for node in 0..self.nodes.len() {
            self.help(node);
        }
        self.queue.push(self.now + LOOK_EVERY, Event::Check);
    }

    /// Whether nobody serves for long, and a person who reads each status would not learn why.
    fn is_mute(&mut self, serving: Option<usize>) -> bool {
        let says = |node: usize| {
            let local = Instant::from_ns(self.nodes[node].local(self.now));
            let agent = self.nodes[node].agent.as_ref();
            agent.is_some_and(|agent| agent.core().waits_for(local).is_some())
        };
        let mute = serving.is_none() && !(0..self.nodes.len()).any(says);
        let since = self.people.mute_since.unwrap_or(self.now);
        self.people.mute_since = mute.then_some(since);
        mute && self.now - since > MUTE
    }

    fn is_complete(&self, serving: usize) -> bool {
        let all = |node: usize| {
            let Some(agent) = &self.nodes[node].agent else { return false };
            let in_place = match agent.core().phase() {
                PhaseName::Serving => node == serving,
                PhaseName::Standby => node != serving && self.nodes[node].database.receives(),
                _ => false,
            };
            let record = agent.core().record();
            in_place
                && record.is_some_and(|r| {
                    r.in_sync.len() == self.nodes.len() && r.primary == self.ids[serving]
                })
        };
        (0..self.nodes.len()).all(all)
    }

    /// Whether this cluster comes back without a person.
    fn must_recover(&self) -> bool {
        let setting = &self.plan.setting;
        self.has_store() && setting.rejoin && setting.autostart
    }

    fn help(&mut self, node: usize) {
        let local = self.nodes[node].local(self.now);
        let Some(agent) = &self.nodes[node].agent else { return };
        let wait = agent.core().waits_for(Instant::from_ns(local));
        let since = match (wait, self.people.waits[node]) {
            (Some(wait), Some((before, since))) if wait == before => since,
            _ => self.now,
        };
        self.people.waits[node] = wait.map(|wait| (wait, since));
        let patience = if matches!(wait, Some(Wait::Force(_) | Wait::Others(_) | Wait::Arbiter)) {
            PATIENCE * 6
        } else {
            PATIENCE
        };
        let Some(wait) = wait.filter(|_| self.now - since > patience) else { return };
        self.people.waits[node] = None;
        let paused = self
            .plan
            .faults
            .iter()
            .any(|timed| matches!(timed.fault, Fault::Operator(_, Command::Pause)));
        self.note(|| format!("{} waits: {wait:?}", super::plan::NAMES[node]));
        match wait {
            Wait::Arbiter => self.violated(Violation::NobodyServes("the arbiter is waited for")),
            // These end by themselves: the database answers, the agent is started.
            Wait::Answer | Wait::PrimaryAgent => {}
            Wait::StartDatabase => {
                self.people.helped[0] += 1;
                self.start_database(node);
            }
            Wait::Rejoin => {
                self.people.helped[1] += 1;
                self.command(node, Command::Rejoin);
            }
            // This one alone: the person agrees to the stop of its database.
            Wait::Hang => {
                self.people.helped[2] += 1;
                self.command(node, Command::Resume);
            }
            Wait::Resume => {
                self.people.helped[2] += 1;
                for node in 0..self.nodes.len() {
                    self.command(node, Command::Resume);
                }
            }
            Wait::Force(_) | Wait::Others(_) if self.must_recover() && !paused => {
                self.violated(Violation::NobodyServes("a person is asked to force"));
            }
            Wait::Force(_) | Wait::Others(_) => {
                self.people.helped[3] += 1;
                self.ledger.forced = true;
                self.command(node, Command::Force);
            }
        }
    }
}
