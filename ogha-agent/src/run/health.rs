//! Whether databases work: the counters of our own port, and active checks of all of them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ogha_common::{
    detector::{Own, Suspicion, Verdict, passive::Watcher},
    maps::PortCounters,
    units::{Instant, NodeId},
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use super::inbox::{Inbox, Message};
use crate::{clock, database::ping::ping};

/// How often the counters are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a database is checked when nothing is suspect.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The least distance of two checks.
const CHECK_GAP: Duration = Duration::from_millis(200);

/// The health of this node's own database, as far as others can see it.
#[derive(Debug)]
pub struct Health {
    watcher: Option<Watcher>,
    own: Own,
    /// Since when it has not been healthy.
    suspect_since: Option<Instant>,
    /// That it is not healthy was told.
    told: bool,
    next_look: Instant,
}

impl Health {
    /// Of a database of which nothing is known; the first look is due now. (Not at the epoch: the
    /// loop would take all the time since for a stall of its own.)
    pub fn new() -> Self {
        Self {
            watcher: None,
            own: Own::default(),
            suspect_since: None,
            told: false,
            next_look: clock::now(),
        }
    }

    /// When the counters are to be looked at.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// What is thought of the database.
    pub fn verdict(&self) -> Verdict {
        self.own.verdict()
    }

    /// The first sign of a hang, while the verdict is that it hangs.
    pub fn hung_since(&self) -> Option<Instant> {
        matches!(self.verdict(), Verdict::Hung(_)).then_some(self.suspect_since).flatten()
    }

    /// The counters of its port now.
    pub fn look(&mut self, instance: &str, now: Instant, counters: PortCounters) {
        self.next_look = now + LOOK_EVERY;
        let Some(watcher) = &mut self.watcher else {
            self.watcher = Some(Watcher::new(counters));
            return;
        };
        let passive = watcher.look(now, counters);
        let verdict = self.own.passive(now, passive);
        self.judged(instance, now, verdict);
    }

    /// An active check has ended.
    pub fn checked(&mut self, instance: &str, check: Check) {
        let verdict = self.own.checked(check.began, check.outcome);
        self.judged(instance, check.began, verdict);
    }

    fn judged(&mut self, instance: &str, sign: Instant, verdict: Option<Verdict>) {
        if self.verdict().is_good() {
            self.suspect_since = None;
        } else {
            self.suspect_since.get_or_insert(sign);
        }
        if let Some(verdict) = verdict {
            self.tell(instance, verdict);
        }
    }

    fn tell(&mut self, instance: &str, verdict: Verdict) {
        match verdict {
            Verdict::Healthy if !self.told => {}
            Verdict::Healthy => info!(instance, "the database here answers again"),
            Verdict::Hung(_) => error!(instance, "the database here is {verdict}"),
            // A check is on its way to say whether that is anything.
            Verdict::Suspect(Suspicion::Database(_)) => {
                return debug!(instance, "the database here is {verdict}");
            }
            _ => warn!(instance, "the database here is {verdict}"),
        }
        self.told = !verdict.is_good();
    }
}

/// An active check that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Whose database; `None`: this node's own.
    pub of: Option<NodeId>,
    /// When it began.
    pub began: Instant,
    /// What came of it.
    pub outcome: ogha_common::detector::CheckOutcome,
}

/// The checks of one instance's databases, each by a task of its own.
#[derive(Debug, Default)]
pub struct Checks(Vec<(Option<NodeId>, Arc<Notify>)>);

impl Checks {
    /// Starts checking these servers on the background threads.
    pub fn start(
        index: usize,
        servers: Vec<(Option<NodeId>, SocketAddr)>,
        inbox: &Inbox,
        background: &Handle,
    ) -> Self {
        let start = |(of, server)| {
            let now = Arc::new(Notify::new());
            background.spawn(check(index, of, server, Arc::clone(&now), inbox.clone()));
            (of, now)
        };
        Self(servers.into_iter().map(start).collect())
    }

    /// One is suspect: do not wait for the next turn.
    pub fn now(&self, of: Option<NodeId>) {
        for (_, notify) in self.0.iter().filter(|(node, _)| *node == of) {
            notify.notify_one();
        }
    }
}

async fn check(
    index: usize,
    of: Option<NodeId>,
    server: SocketAddr,
    now: Arc<Notify>,
    inbox: Inbox,
) {
    loop {
        let began = clock::now();
        let outcome = ping(server).await;
        let check = Check { of, began, outcome };
        if inbox.send(Message::Checked(index, check)).is_err() {
            return;
        }
        sleep(CHECK_GAP).await;
        // Whether somebody asks or its turn has come, it is the same check.
        let _ = timeout(CHECK_EVERY - CHECK_GAP, now.notified()).await;
    }
}
