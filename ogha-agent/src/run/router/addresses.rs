//! Puts the addresses on the interface and takes them off it, outside the loop.
//!
//! Only the latest wish counts. What fails is tried again with growing pauses, and logged when it
//! begins, changes or ends.

use std::{net::IpAddr, time::Duration};

use tokio::{runtime::Handle, sync::watch, time::timeout};
use tracing::{error, info};

use crate::{
    net::addresses::Addresses,
    run::inbox::{Inbox, Message},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whether the addresses are to be on the interface. Numbered, so that the outcome of an older wish is
/// never taken for that of the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    number: u64,
    /// On it, or off it.
    pub hold: bool,
}

/// The worker's end in the loop. Dropping it ends the worker.
#[derive(Debug)]
pub struct AddressHolder {
    wish: watch::Sender<Wish>,
}

impl AddressHolder {
    /// Starts the worker on the background threads. Nothing is wished yet.
    pub fn start(
        index: usize,
        inbox: Inbox,
        addresses: Addresses,
        vips: Vec<(IpAddr, u8)>,
        background: &Handle,
    ) -> Self {
        let (wish, wanted) = watch::channel(Wish::default());
        background.spawn(fulfil(index, inbox, addresses, vips, wanted));
        Self { wish }
    }

    /// Wishes the addresses on the interface, or off it.
    pub fn wish(&self, hold: bool) {
        self.wish.send_modify(|wish| *wish = Wish { number: wish.number + 1, hold });
    }

    /// Whether that is the latest wish.
    pub fn is_latest(&self, wish: Wish) -> bool {
        *self.wish.borrow() == wish
    }
}

async fn fulfil(
    index: usize,
    inbox: Inbox,
    addresses: Addresses,
    vips: Vec<(IpAddr, u8)>,
    mut wanted: watch::Receiver<Wish>,
) {
    let mut pause = FIRST_PAUSE;
    let mut trouble = String::new();
    while wanted.changed().await.is_ok() {
        let wish = *wanted.borrow_and_update();
        match settle(&addresses, &vips, wish.hold).await {
            Ok(()) => {
                if !std::mem::take(&mut trouble).is_empty() {
                    info!("the addresses could be changed again");
                }
                pause = FIRST_PAUSE;
                if inbox.send(Message::Addresses(index, wish)).is_err() {
                    return;
                }
            }
            Err(e) => {
                let reason = format!("{e:#}");
                if reason != trouble {
                    error!("{reason}");
                    trouble = reason;
                }
                // A newer wish does not wait.
                match timeout(pause, wanted.changed()).await {
                    Ok(Err(_)) => return,
                    Ok(Ok(())) | Err(_) => wanted.mark_changed(),
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// All of them are tried, whatever becomes of one.
async fn settle(addresses: &Addresses, vips: &[(IpAddr, u8)], hold: bool) -> anyhow::Result<()> {
    let mut settled = Ok(());
    for &(address, prefix) in vips {
        settled = settled.and(if hold {
            addresses.add(address, prefix).await
        } else {
            addresses.remove(address, prefix).await
        });
    }
    settled
}
