//! Slow effects, none of which can stall the loop. Of the addresses the worker sees the latest wish
//! only; what is to be written, and orders to the database, it takes in their order. What came of them
//! comes back through the inbox.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ogha_common::failover::{Input, Record};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::sleep,
};
use tracing::error;

use super::{
    inbox::{Inbox, Message},
    orders::{self, Ask, Tended},
};
use crate::{net::addresses::Addresses, store::Store};

/// What must outlive the agent.
#[derive(Clone, Copy, Debug)]
enum Word {
    Record(Record),
    Paused(bool),
}

/// The workers of one instance. Dropping it ends them.
#[derive(Debug)]
pub struct Workers {
    addresses: watch::Sender<bool>,
    database: mpsc::UnboundedSender<Ask>,
    words: mpsc::UnboundedSender<Word>,
}

impl Workers {
    /// Starts the workers on the background threads.
    pub fn start(
        tended: Tended,
        background: &Handle,
        store: Store,
        addresses: Addresses,
        vips: Vec<(IpAddr, u8)>,
    ) -> Self {
        let (index, inbox) = tended.place();
        let (hold, wanted) = watch::channel(false);
        background.spawn(hold_addresses(index, inbox.clone(), addresses, vips, wanted));
        let (ask, asks) = mpsc::unbounded_channel();
        background.spawn(orders::tend(Arc::new(tended), asks));
        let (keep, words) = mpsc::unbounded_channel();
        background.spawn(keep_word(index, inbox, store, words));
        Self { addresses: hold, database: ask, words: keep }
    }

    /// Wishes the addresses on the interface, or off it.
    pub fn hold_addresses(&self, hold: bool) {
        self.addresses.send_replace(hold);
    }

    /// Asks something of the database's worker.
    pub fn database(&self, ask: Ask) {
        // A worker that is gone has said so in the inbox.
        let _ = self.database.send(ask);
    }

    /// Has the record written.
    pub fn save(&self, record: Record) {
        let _ = self.words.send(Word::Record(record));
    }

    /// Has it remembered whether failovers are paused.
    pub fn save_paused(&self, paused: bool) {
        let _ = self.words.send(Word::Paused(paused));
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

async fn keep_word(
    index: usize,
    inbox: Inbox,
    store: Store,
    mut words: mpsc::UnboundedReceiver<Word>,
) {
    while let Some(word) = words.recv().await {
        let store = store.clone();
        let save = move || match word {
            Word::Record(record) => store.save(&record),
            Word::Paused(paused) => store.save_paused(paused),
        };
        let saved = tokio::task::spawn_blocking(save).await;
        let saved = saved.map_err(anyhow::Error::from).flatten();
        if let Err(e) = &saved {
            error!("{e:#}");
        }
        let outcome = match (word, saved) {
            (Word::Paused(_), _) => continue,
            (Word::Record(record), Ok(())) => Input::Persisted(record.term),
            (Word::Record(record), Err(_)) => Input::PersistFailed(record.term),
        };
        let _ = inbox.send(Message::Outcome(index, outcome));
    }
}
