//! The worker of a database: looks at it again and again, and does to it what the core orders.
//!
//! What changes its role is done one thing after another; whom commits wait for is set beside that,
//! and looks go on meanwhile. A stop, which keeps a database from being written, waits for
//! nothing: what is under way is dropped.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use ogha_common::{
    failover::{Input, NodeSet, Order},
    units::NodeId,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::AbortHandle,
    time::sleep,
};
use tracing::{error, info, warn};

use super::{
    inbox::{Inbox, Message},
    prepare::PROMOTION_TIMEOUT,
};
use crate::{
    config,
    database::{Database, Step},
};

/// How often the database is looked at when nothing happens. What somebody changes by hand must be
/// seen before it costs an acknowledged write.
const OBSERVE_EVERY: Duration = Duration::from_millis(150);
/// How often, and how many times, the database's tools are told about the new primary.
const AFTER_FAILOVER_EVERY: Duration = Duration::from_secs(30);
const AFTER_FAILOVER_TRIES: u32 = 20;

/// What the database's worker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Look at it now.
    Look,
    /// Do this to it.
    Do(Order),
    /// Its role is lost: it must not come up writable, whoever starts it.
    Disarm,
}

/// One database, and where what came of an order goes.
pub struct Tended {
    index: usize,
    inbox: Inbox,
    database: Arc<dyn Database>,
    names: Vec<(NodeId, String)>,
    /// Commits wait for whom the core says; else replication is the operator's business.
    synchronous: bool,
    /// How long a clean stop may take.
    demotion_timeout: Duration,
    /// Grows with each order that ends: what was seen before says nothing then.
    orders_done: AtomicU64,
}

/// Tends the database until nobody asks any more.
pub async fn tend(tended: Arc<Tended>, mut asks: UnboundedReceiver<Ask>) {
    let [roles, settings] = [(); 2].map(|()| {
        let (send, orders) = unbounded_channel();
        tokio::spawn(one_after_another(Arc::clone(&tended), orders));
        send
    });
    let mut after_failover: Option<AbortHandle> = None;
    loop {
        tokio::select! {
            ask = asks.recv() => match ask {
                None => return,
                Some(Ask::Look) => {}
                Some(Ask::Do(Order::AfterFailover)) => {
                    let task = tokio::spawn(tell_tools(Arc::clone(&tended.database)));
                    if let Some(old) = after_failover.replace(task.abort_handle()) {
                        old.abort();
                    }
                    continue;
                }
                Some(ask) => {
                    let lane = if ask.is_setting() { &settings } else { &roles };
                    // A lane ends with the agent alone.
                    let _ = lane.send(ask);
                    continue;
                }
            },
            () = sleep(OBSERVE_EVERY) => {}
        }
        if tended.look().await.is_err() {
            return;
        }
    }
}

async fn one_after_another(tended: Arc<Tended>, mut asks: UnboundedReceiver<Ask>) {
    let mut waiting = VecDeque::new();
    loop {
        let ask = match waiting.pop_front() {
            Some(ask) => ask,
            None => match asks.recv().await {
                Some(ask) => ask,
                None => return,
            },
        };
        let mut step = std::pin::pin!(tended.carry_out(ask));
        let ended = loop {
            tokio::select! {
                ok = &mut step => break Some(ok),
                next = asks.recv() => match next {
                    None => return,
                    Some(next) if next == ask || waiting.contains(&next) => {}
                    Some(next) if next.preempts(ask) => {
                        info!(
                            "the database: {} is given up for {}",
                            tended.say(ask),
                            tended.say(next)
                        );
                        waiting.drain(..).for_each(|ask| tended.did(ask, false));
                        waiting.push_back(next);
                        break None;
                    }
                    Some(next) => waiting.push_back(next),
                },
            }
        };
        tended.ended(ask, ended == Some(true)).await;
    }
}

impl Ask {
    /// Whether it leaves the role as it is.
    fn is_setting(self) -> bool {
        matches!(self, Self::Do(Order::Synchronize(_)))
    }

    /// Whether it is worth more than the one under way.
    fn preempts(self, under_way: Self) -> bool {
        match self {
            Self::Do(Order::Stop) => true,
            Self::Do(Order::Promote) => {
                !matches!(under_way, Self::Disarm | Self::Do(Order::Stop | Order::Demote))
            }
            // What waits for longest is the newest.
            Self::Do(Order::Synchronize(_)) => matches!(under_way, Self::Do(Order::Synchronize(_))),
            _ => false,
        }
    }

    /// Whether the core must see the database before it hears how that ended.
    fn is_seen_first(self) -> bool {
        let Self::Do(order) = self else { return false };
        matches!(order, Order::Promote | Order::Start | Order::Follow(_) | Order::Rejoin(_))
    }
}

impl Tended {
    /// The database of an instance whose peers have these names.
    pub fn new(
        index: usize,
        inbox: Inbox,
        database: Arc<dyn Database>,
        names: &[(NodeId, String)],
        policy: &config::Failover,
    ) -> Self {
        Self {
            index,
            inbox,
            database,
            names: names.to_vec(),
            synchronous: policy.synchronous,
            demotion_timeout: policy.switchover_timeout,
            orders_done: AtomicU64::new(0),
        }
    }

    /// Which instance it is, and where messages go.
    pub fn place(&self) -> (usize, Inbox) {
        (self.index, self.inbox.clone())
    }

    /// Looks at the database, and says what it saw.
    async fn look(&self) -> Result<(), ()> {
        let done = self.orders_done.load(Ordering::Relaxed);
        let seen = self.database.observe().await;
        if self.orders_done.load(Ordering::Relaxed) != done {
            return Ok(());
        }
        self.inbox.send(Message::Observed(self.index, seen)).map_err(drop)
    }

    /// Whether its effect was seen.
    async fn carry_out(&self, ask: Ask) -> bool {
        let step = match ask {
            Ask::Look | Ask::Do(Order::AfterFailover) => return true,
            Ask::Disarm => Ok(Step::Disarm),
            Ask::Do(Order::Synchronize(_)) if !self.synchronous => return true,
            Ask::Do(order) => self.step(order),
        };
        let done = match step {
            Ok(step) => self.database.perform(step).await,
            Err(e) => Err(e),
        };
        if let Err(e) = &done {
            error!("the database: {} failed: {e:#}", self.say(ask));
        }
        done.is_ok()
    }

    fn step(&self, order: Order) -> anyhow::Result<Step> {
        Ok(match order {
            Order::Promote => Step::Promote,
            Order::Stop => Step::StopImmediate,
            Order::Checkpoint => Step::Checkpoint,
            Order::Demote => Step::Demote(self.demotion_timeout),
            Order::Start => Step::Start(PROMOTION_TIMEOUT),
            Order::Synchronize(set) => Step::Synchronize(self.names_of(set)?),
            Order::Follow(node) => Step::Follow(self.name_of(node)?),
            Order::Rejoin(node) => Step::Rejoin(self.name_of(node)?),
            Order::AfterFailover => Step::AfterFailover,
        })
    }

    fn name_of(&self, node: NodeId) -> anyhow::Result<String> {
        let found = self.names.iter().find(|(known, _)| *known == node);
        found.map(|(_, name)| name.clone()).context("the node is not configured here")
    }

    fn names_of(&self, set: NodeSet) -> anyhow::Result<Vec<String>> {
        set.iter().map(|node| self.name_of(node)).collect()
    }

    /// For people.
    fn say(&self, ask: Ask) -> String {
        let name = |node| self.name_of(node).unwrap_or_default();
        match ask {
            Ask::Look => "a look".to_owned(),
            Ask::Disarm => "to keep it from coming up writable".to_owned(),
            Ask::Do(order) => match order {
                Order::Promote => "the promotion".to_owned(),
                Order::Stop => "to stop it at once".to_owned(),
                Order::Checkpoint => "the checkpoint".to_owned(),
                Order::Demote => "to stop it in order".to_owned(),
                Order::Start => "the start".to_owned(),
                Order::Synchronize(set) if set.is_empty() => {
                    "to let commits wait for nobody".to_owned()
                }
                Order::Synchronize(set) => {
                    let names = self.names_of(set).unwrap_or_default();
                    format!("to let commits wait for {}", names.join(", "))
                }
                Order::Follow(node) => format!("to follow {}", name(node)),
                Order::Rejoin(node) => format!("to rejoin {}", name(node)),
                Order::AfterFailover => "to tell its tools".to_owned(),
            },
        }
    }

    /// An order has ended. What the core needs to know to go on comes first.
    async fn ended(&self, ask: Ask, ok: bool) {
        self.orders_done.fetch_add(1, Ordering::Relaxed);
        let first = ask.is_seen_first();
        if !first {
            self.did(ask, ok);
        }
        // The loop may have ended.
        let _ = self.look().await;
        if first {
            self.did(ask, ok);
        }
    }

    fn did(&self, ask: Ask, ok: bool) {
        if let Ask::Do(order) = ask {
            let outcome = Input::DatabaseDid { order, ok };
            let _ = self.inbox.send(Message::Outcome(self.index, outcome));
        }
    }
}

async fn tell_tools(database: Arc<dyn Database>) {
    for attempt in 1..=AFTER_FAILOVER_TRIES {
        match database.perform(Step::AfterFailover).await {
            Ok(()) => return info!("the database's tools know the new primary"),
            Err(e) => warn!(attempt, "the database's tools do not know the new primary yet: {e:#}"),
        }
        sleep(AFTER_FAILOVER_EVERY).await;
    }
    warn!("gave up telling the database's tools about the new primary; do it by hand");
}
