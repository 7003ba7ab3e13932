//! Where messages come from: one task a source, each feeding the inbox.

use std::{sync::Arc, thread, time::Duration};

use tokio::{runtime::Runtime, sync::oneshot};
use tracing::{debug, warn};

use super::inbox::{Inbox, Message};
use crate::{
    control::{
        protocol::{Request, Response},
        server::Server,
    },
    kernel::{Events, Log},
    net::vrrp::VrrpSocket,
};

/// The kernel's events, on the loop's own thread: they are the first sign of a failure.
pub fn kernel_events(mut events: Events, inbox: Inbox) {
    tokio::spawn(async move {
        loop {
            match events.next().await {
                Ok(event) => {
                    if inbox.send(Message::Kernel(event)).is_err() {
                        return;
                    }
                }
                Err(e) => {
                    let e = e.context("the kernel's events can no longer be read");
                    drop(inbox.send(Message::Broken(e)));
                    return;
                }
            }
        }
    });
}

/// The programs' log, on a thread that waits for nothing else: there may be no end of lines.
pub fn kernel_log(mut log: Log) {
    /// Lines wake it before.
    const PATIENCE: Duration = Duration::from_secs(60);
    let forward = move || {
        while let Ok(()) = log.forward(PATIENCE) {}
        warn!("the programs' log can no longer be read");
    };
    if let Err(e) = thread::Builder::new().name("ogha-log".to_owned()).spawn(forward) {
        warn!("the programs' log has no reader: {e}");
    }
}

/// Adverts of other routers on the instance's interface.
pub fn adverts(index: usize, socket: Arc<VrrpSocket>, inbox: Inbox) {
    tokio::spawn(async move {
        loop {
            match socket.receive().await {
                Ok((source, advert)) => {
                    if inbox.send(Message::Advert(index, source, advert)).is_err() {
                        return;
                    }
                }
                Err(e) => debug!("an advert was refused: {e:#}"),
            }
        }
    });
}

/// Operators' requests.
pub fn control(server: Server, inbox: Inbox, background: &Runtime) {
    background.spawn(server.serve(move |request: Request| {
        let inbox = inbox.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            drop(inbox.send(Message::Control(request, answer)));
            answered.await.unwrap_or_else(|_| Response::error("the agent is stopping"))
        }
    }));
}
