//! Clients that write, and the way of their writes to the standbys.

use super::{
    clock::MS,
    database::{Waiting, Write},
    world::{Event, World},
};

/// How often a standby says how much it has.
const RECEIVE_EVERY: u64 = 50 * MS;

impl World {
    /// Clients write wherever a gate lets them.
    pub fn clients_write(&mut self) {
        for node in 0..self.plan.setting.nodes {
            if !self.is_open(node) || !self.nodes[node].database.running {
                continue;
            }
            let local = self.nodes[node].local(self.now);
            let answers = self.nodes[node].database.answers();
            self.nodes[node].kernel.count(local, answers);
            self.check_commits(node);
            if self.nodes[node].database.writes() && !self.nodes[node].database.stuck {
                self.writes += 1;
                let write = self.writes;
                let database = &mut self.nodes[node].database;
                database.log.push(write);
                let end = database.log.len();
                database.waiting.push_back(Waiting { write, end });
                self.ship(node);
                self.acknowledge(node);
            }
        }
        let next = self.random.between(5, 30) * MS;
        self.queue.push(self.now + next, Event::Clients);
    }

    /// The primary sends what it has to whoever is connected.
    fn ship(&mut self, node: usize) {
        for to in 0..self.plan.setting.nodes {
            if self.nodes[node].database.senders[to].heard.is_some() {
                self.ship_to(node, to);
            }
        }
    }

    fn ship_to(&mut self, node: usize, to: usize) {
        let from_life = self.nodes[node].database.life;
        let length = self.nodes[node].database.log.len();
        if self.network.joins(node, to) {
            let life = self.nodes[to].database.life;
            let lag = if self.network.lags[to] > 0 { self.random.between(50, 800) * MS } else { 0 };
            let at = self.now + lag + self.network.latency(&mut self.random);
            self.queue.push(at, Event::Log { node: to, life, from: node, from_life, length });
        }
    }

    /// Whether two hosts can talk.
    pub fn joined(&self, a: usize, b: usize) -> bool {
        self.nodes[a].up && self.nodes[b].up && self.network.joins(a, b)
    }

    /// Whether the standby there receives the log of that node.
    pub fn receives_from(&self, node: usize, from: usize) -> bool {
        let (database, source) = (&self.nodes[node].database, &self.nodes[from].database);
        database.receives()
            && database.follows == Some(from)
            && source.contains(database.log.len(), database.last())
    }

    /// It gets the log up to there.
    pub fn take_log(&mut self, node: usize, from: usize, length: usize) {
        let have = self.nodes[node].database.log.len();
        let source = &self.nodes[from].database.log;
        let end = length.min(source.len());
        if have < end {
            let more: Vec<Write> = source[have..end].to_vec();
            self.nodes[node].database.log.extend(more);
        }
    }

    /// Writes arrive at a standby, which says so.
    pub fn log_arrives(
        &mut self,
        node: usize,
        life: u32,
        from: usize,
        from_life: u32,
        length: usize,
    ) {
        let same =
            self.nodes[node].database.life == life && self.nodes[from].database.life == from_life;
        if same && self.joined(node, from) && self.receives_from(node, from) {
            self.take_log(node, from, length);
            self.confirm(node, from);
        }
    }

    fn confirm(&mut self, node: usize, to: usize) {
        let database = &self.nodes[node].database;
        let (length, last) = (database.log.len(), database.last());
        let life = self.nodes[to].database.life;
        let boot = self.nodes[node].boot;
        if self.network.joins(node, to) {
            let at = self.now + self.network.latency(&mut self.random);
            self.queue.push(at, Event::Received { node, life, to, length, last, boot });
        }
    }

    /// A standby's receiver looks for its primary, again and again.
    pub fn receive(&mut self, node: usize) {
        let host = &self.nodes[node];
        if host.up
            && host.database.receives()
            && let Some(primary) = host.database.follows.filter(|&primary| primary != node)
        {
            self.confirm(node, primary);
        }
        self.queue.push(self.now + RECEIVE_EVERY, Event::Receive { node });
    }

    /// What a standby has is heard by its primary.
    pub fn received(&mut self, node: usize, life: u32, to: usize, length: usize, last: Write) {
        let now = self.now;
        let primary = &mut self.nodes[to];
        if !primary.up || primary.database.life != life || !primary.database.writes() {
            return;
        }
        if primary.database.heard(now, node, length, last) {
            let behind = primary.database.log.len() > length;
            self.acknowledge(to);
            if behind {
                self.ship_to(to, node);
            }
        }
    }

    /// Commits that need not wait any more return to their clients, if the gate lets them.
    pub fn acknowledge(&mut self, node: usize) {
        let clones = self.network.clones;
        let cloned = |place: usize| place != node && clones[place].is_some();
        while let Some(commit) = self.nodes[node].database.commit(cloned) {
            // What nobody waits for by somebody's hand may be lost.
            if self.is_open(node) && self.ledger.by_hand[node].is_none() && !self.is_deceived(node)
            {
                self.ledger.acknowledged.push((commit.end, commit.write));
            }
        }
    }
}
