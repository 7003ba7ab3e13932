//! A database: a log of writes, a role, synchronous replication by names.
//!
//! A write has a number of its own and is made at one place of one log, so that two logs that have the
//! same write at the same place are the same up to there.

use std::collections::VecDeque;

use super::{MAX, clock::MS};

/// A write.
pub type Write = u32;

/// After how much silence a primary gives up a standby's connection.
const SENDER_TIMEOUT: u64 = 1000 * MS;

/// A commit that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// The write.
    pub write: Write,
    /// The length of the log with it.
    pub end: usize,
}

/// What a primary knows of a standby.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender {
    /// When it last spoke; `None`: it is not connected.
    pub heard: Option<u64>,
    /// How much of this log it has, flushed.
    pub flushed: usize,
    /// Where the log ended when commits began to wait for it; `None`: they do not.
    pub since: Option<usize>,
}

/// The database of one host.
#[derive(Clone, Debug)]
pub struct Database {
    /// What its files make of it.
    pub primary: bool,
    /// Its processes are there.
    pub running: bool,
    /// They do nothing.
    pub hung: bool,
    /// Its storage hangs: it answers, and no write is done.
    pub stuck: bool,
    /// They recover after a crash of one of them, and refuse everybody.
    pub recovering: bool,
    /// The writes, oldest first.
    pub log: Vec<Write>,
    /// Whose log it receives.
    pub follows: Option<usize>,
    /// For whom commits wait, by place; a standby's count after its promotion.
    pub names: [bool; MAX],
    /// Its main process: a number of its own for each start.
    pub process: u32,
    /// Grows whenever it starts, stops, or becomes another: what was on its way then is lost.
    pub life: u32,
    /// The standbys, as a primary knows them.
    pub senders: [Sender; MAX],
    /// Commits that wait, oldest first.
    pub waiting: VecDeque<Waiting>,
    /// When it was last started.
    pub started_at: u64,
    /// When it was last a primary that accepts writes.
    pub wrote_at: Option<u64>,
}

impl Database {
    /// A database that runs.
    pub fn new(primary: bool, follows: Option<usize>, names: [bool; MAX]) -> Self {
        let mut database = Self {
            primary,
            running: false,
            hung: false,
            stuck: false,
            recovering: false,
            log: vec![],
            follows,
            names,
            process: 0,
            life: 0,
            senders: [Sender::default(); MAX],
            waiting: VecDeque::new(),
            started_at: 0,
            wrote_at: None,
        };
        database.start();
        database
    }

    /// It runs again, as what it was.
    pub fn start(&mut self) {
        self.process += 1;
        self.begin(true);
    }

    /// It is gone.
    pub fn stop(&mut self) {
        self.begin(false);
    }

    fn begin(&mut self, running: bool) {
        self.running = running;
        self.hung = false;
        self.stuck = false;
        self.recovering = false;
        self.life += 1;
        self.waiting.clear();
        let end = self.log.len();
        for (sender, &named) in self.senders.iter_mut().zip(&self.names) {
            *sender = Sender { since: named.then_some(end), ..Sender::default() };
        }
    }

    /// The recovery after a crash has ended.
    pub fn recovered(&mut self) {
        if std::mem::take(&mut self.recovering) {
            self.begin(true);
        }
    }

    /// A standby becomes a primary.
    pub fn promote(&mut self) {
        self.primary = true;
        self.follows = None;
        self.begin(true);
    }

    /// It becomes a standby that has all of that log.
    pub fn copy(&mut self, log: &[Write], from: usize) {
        self.log.clear();
        self.log.extend_from_slice(log);
        self.primary = false;
        self.follows = Some(from);
        self.names = [false; MAX];
        self.start();
    }

    /// Whether it answers, and accepts writes.
    pub fn writes(&self) -> bool {
        self.answers() && self.primary
    }

    /// Whether it is a standby that receives.
    pub fn receives(&self) -> bool {
        self.answers() && !self.primary
    }

    /// Whether it answers a query.
    pub fn answers(&self) -> bool {
        self.running && !self.hung && !self.recovering
    }

    /// Commits wait for exactly these.
    pub fn synchronize(&mut self, names: [bool; MAX]) {
        let end = self.log.len();
        self.names = names;
        for (sender, named) in self.senders.iter_mut().zip(names) {
            sender.since = named.then(|| sender.since.unwrap_or(end));
        }
    }

    /// Whether another log that is so long, and ends so, is the beginning of this one.
    pub fn contains(&self, length: usize, last: Write) -> bool {
        length == 0 || self.log.get(length - 1) == Some(&last)
    }

    /// The last write.
    pub fn last(&self) -> Write {
        self.log.last().copied().unwrap_or(0)
    }

    /// A standby says how much it has; false if it has something else.
    pub fn heard(&mut self, now: u64, from: usize, length: usize, last: Write) -> bool {
        let sender = &mut self.senders[from];
        if length != 0 && self.log.get(length - 1) != Some(&last) {
            sender.heard = None;
            return false;
        }
        sender.heard = Some(now);
        sender.flushed = sender.flushed.max(length);
        true
    }

    /// The next commit for which nobody has to be waited any more. A name is confirmed by whoever goes by
    /// it; `cloned`: somebody else's server does too.
    pub fn commit(&mut self, cloned: impl Fn(usize) -> bool) -> Option<Waiting> {
        let first = *self.waiting.front()?;
        let mut names = self.senders.iter().enumerate().filter(|&(place, _)| self.names[place]);
        let confirmed =
            |(place, sender): (usize, &Sender)| cloned(place) || sender.flushed >= first.end;
        if !self.writes() || self.stuck || !names.all(confirmed) {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Who receives the log now, and who of them has all that was acknowledged before commits waited.
    pub fn standbys(&mut self, now: u64) -> ([bool; MAX], [bool; MAX]) {
        let (mut streaming, mut confirmed) = ([false; MAX], [false; MAX]);
        if self.writes() {
            for (place, sender) in self.senders.iter_mut().enumerate() {
                sender.heard = sender.heard.filter(|&at| now.saturating_sub(at) < SENDER_TIMEOUT);
                streaming[place] = sender.heard.is_some();
                let has = sender.since.is_some_and(|since| sender.flushed >= since);
                confirmed[place] = streaming[place] && has;
            }
        }
        (streaming, confirmed)
    }
}
