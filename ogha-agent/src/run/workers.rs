//! Slow effects. Each worker sees the latest wish and reports what came of it; none can stall
//! the loop.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ogha_common::failover::{Input, Record};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::AbortHandle,
    time::sleep,
};
use tracing::{error, info, warn};

use super::inbox::{Inbox, Message};
use crate::{
    database::{Database, Step},
    net::addresses::Addresses,
    store::Store,
};

/// How often the database is looked at when nothing happens.
const OBSERVE_EVERY: Duration = Duration::from_millis(500);
/// How often, and how many times, the database's tools are told about the new primary.
const AFTER_FAILOVER_EVERY: Duration = Duration::from_secs(30);
const AFTER_FAILOVER_TRIES: u32 = 20;

/// What the database's worker is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look at it now.
    Look,
    /// Promote it, and say as soon as it accepts writes.
    Promote,
    /// Stop it at once.
    Stop,
    /// Tell its tools that it is the primary now, again until that works.
    AfterFailover,
}

/// The workers of one instance. Dropping it ends them.
#[derive(Debug)]
pub struct Workers {
    addresses: watch::Sender<bool>,
    database: mpsc::UnboundedSender<Order>,
    records: mpsc::UnboundedSender<Record>,
}

impl Workers {
    /// Starts the workers on the background threads.
    pub fn start(
        index: usize,
        inbox: &Inbox,
        background: &Handle,
        store: Store,
        database: Arc<dyn Database>,
        addresses: Addresses,
        vips: Vec<(IpAddr, u8)>,
    ) -> Self {
        let (hold, wanted) = watch::channel(false);
        background.spawn(hold_addresses(index, inbox.clone(), addresses, vips, wanted));
        let (order, orders) = mpsc::unbounded_channel();
        background.spawn(tend_database(index, inbox.clone(), database, orders));
        let (save, records) = mpsc::unbounded_channel();
        background.spawn(save_records(index, inbox.clone(), store, records));
        Self { addresses: hold, database: order, records: save }
    }

    /// Wishes the addresses on the interface, or off it.
    pub fn hold_addresses(&self, hold: bool) {
        self.addresses.send_replace(hold);
    }

    /// Asks something of the database's worker.
    pub fn database(&self, order: Order) {
        // A worker that is gone has said so in the inbox.
        let _ = self.database.send(order);
    }

    /// Has the record written.
    pub fn save(&self, record: Record) {
        let _ = self.records.send(record);
    }
}

async fn hold_addresses(
    index: usize,
    inbox: Inbox,
    addresses: Addresses,
    vips: Vec<(IpAddr, u8)>,
    mut wanted: watch::Receiver<bool>,
) {
    while wanted.changed().await.is_ok() {
        let hold = *wanted.borrow_and_update();
        let mut done = Ok(());
        for &(address, prefix) in &vips {
            done = done.and(if hold {
                addresses.add(address, prefix).await
            } else {
                addresses.remove(address, prefix).await
            });
        }
        match done {
            Ok(()) if hold => drop(inbox.send(Message::Outcome(index, Input::AddressesHeld))),
            Ok(()) => {}
            Err(e) => {
                error!("{e:#}");
                sleep(Duration::from_millis(100)).await;
                wanted.mark_changed();
            }
        }
    }
}

async fn save_records(
    index: usize,
    inbox: Inbox,
    store: Store,
    mut records: mpsc::UnboundedReceiver<Record>,
) {
    while let Some(record) = records.recv().await {
        let store = store.clone();
        let saved = tokio::task::spawn_blocking(move || store.save(&record)).await;
        let outcome = match saved.map_err(anyhow::Error::from).flatten() {
            Ok(()) => Input::Persisted(record.term),
            Err(e) => {
                error!("{e:#}");
                Input::PersistFailed(record.term)
            }
        };
        let _ = inbox.send(Message::Outcome(index, outcome));
    }
}

async fn tend_database(
    index: usize,
    inbox: Inbox,
    database: Arc<dyn Database>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut after_failover: Option<AbortHandle> = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Look) => {}
                Some(Order::Promote) => {
                    tokio::spawn(promote(index, inbox.clone(), Arc::clone(&database)));
                }
                Some(Order::Stop) => {
                    if let Err(e) = database.perform(Step::StopImmediate).await {
                        error!("the database could not be stopped: {e:#}");
                    }
                }
                Some(Order::AfterFailover) => {
                    let task = tokio::spawn(tell_tools(Arc::clone(&database)));
                    if let Some(old) = after_failover.replace(task.abort_handle()) {
                        old.abort();
                    }
                }
            },
            () = sleep(OBSERVE_EVERY) => {}
        }
        let seen = database.observe().await;
        if inbox.send(Message::Observed(index, seen)).is_err() {
            return;
        }
    }
}

/// Promotes; this is the longest part of the outage.
async fn promote(index: usize, inbox: Inbox, database: Arc<dyn Database>) {
    let outcome = match database.perform(Step::Promote).await {
        Ok(()) => Message::Observed(index, database.observe().await),
        Err(e) => {
            error!("the promotion failed: {e:#}");
            Message::Outcome(index, Input::PromotionRefused)
        }
    };
    // The loop that asked may have ended.
    let _ = inbox.send(outcome);
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
