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

use ogha_common::failover::{Input, Order};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
    time::sleep,
};
use tracing::{error, info, warn};

use super::inbox::{Inbox, Message};
use crate::database::{Database, Step, receivers::Receivers};

/// How often the database is looked at when nothing happens.
const OBSERVE_EVERY: Duration = Duration::from_millis(500);
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
}

/// One database, and where what came of an order goes.
struct Tended {
    index: usize,
    inbox: Inbox,
    database: Arc<dyn Database>,
    receivers: Receivers,
    /// Grows with each order that ends: what was seen before says nothing then.
    orders_done: AtomicU64,
}

/// Tends the database until nobody asks any more.
pub async fn tend(
    index: usize,
    inbox: Inbox,
    database: Arc<dyn Database>,
    receivers: Receivers,
    mut asks: UnboundedReceiver<Ask>,
) {
    let tended =
        Arc::new(Tended { index, inbox, database, receivers, orders_done: AtomicU64::new(0) });
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
                Some(Ask::Do(order)) => {
                    pass(order, &roles, &settings);
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

/// A lane that has ended takes its worker's inbox with it.
fn pass(order: Order, roles: &UnboundedSender<Order>, settings: &UnboundedSender<Order>) {
    let lane = if matches!(order, Order::Synchronize(_)) { settings } else { roles };
    let _ = lane.send(order);
}

async fn one_after_another(tended: Arc<Tended>, mut orders: UnboundedReceiver<Order>) {
    let mut waiting = VecDeque::new();
    loop {
        let order = match waiting.pop_front() {
            Some(order) => order,
            None => match orders.recv().await {
                Some(order) => order,
                None => return,
            },
        };
        let mut step = std::pin::pin!(tended.carry_out(order));
        let ended = loop {
            tokio::select! {
                ok = &mut step => break Some(ok),
                next = orders.recv() => match next {
                    None => return,
                    Some(next) if next == order || waiting.contains(&next) => {}
                    Some(next) if preempts(next, order) => {
                        info!("the database: {order:?} is given up for {next:?}");
                        waiting.drain(..).for_each(|order| tended.did(order, false));
                        waiting.push_back(next);
                        break None;
                    }
                    Some(next) => waiting.push_back(next),
                },
            }
        };
        tended.ended(order, ended == Some(true)).await;
    }
}

/// Whether an order is worth more than the one under way.
fn preempts(next: Order, under_way: Order) -> bool {
    match next {
        Order::Stop => true,
        Order::Promote => !matches!(under_way, Order::Stop | Order::Demote),
        _ => false,
    }
}

impl Tended {
    /// Looks at the database, and says what it saw.
    async fn look(&self) -> Result<(), ()> {
        let done = self.orders_done.load(Ordering::Relaxed);
        let seen = self.database.observe().await;
        let receivers = if seen.writable { self.receivers.now().await } else { Vec::new() };
        if self.orders_done.load(Ordering::Relaxed) != done {
            return Ok(());
        }
        self.inbox.send(Message::Observed(self.index, seen, receivers)).map_err(drop)
    }

    /// Whether its effect was seen.
    async fn carry_out(&self, order: Order) -> bool {
        let step = match order {
            Order::Promote => Step::Promote,
            Order::Stop => Step::StopImmediate,
            Order::AfterFailover => Step::AfterFailover,
            Order::Synchronize(_) => return true,
            Order::Checkpoint | Order::Demote | Order::Start => return false,
            Order::Follow(_) => return true,
            Order::Rejoin(_) => return false,
        };
        let done = self.database.perform(step).await;
        if let Err(e) = &done {
            error!("the database: {order:?} failed: {e:#}");
        }
        done.is_ok()
    }

    /// An order has ended. What the core needs to know to go on comes first.
    async fn ended(&self, order: Order, ok: bool) {
        self.orders_done.fetch_add(1, Ordering::Relaxed);
        let first =
            matches!(order, Order::Promote | Order::Start | Order::Follow(_) | Order::Rejoin(_));
        if !first {
            self.did(order, ok);
        }
        // The loop may have ended.
        let _ = self.look().await;
        if first {
            self.did(order, ok);
        }
    }

    fn did(&self, order: Order, ok: bool) {
        let outcome = Input::DatabaseDid { order, ok };
        let _ = self.inbox.send(Message::Outcome(self.index, outcome));
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
