//! Where messages come from: one task a source, each feeding the inbox.

use std::{panic::AssertUnwindSafe, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{sync::oneshot, task::AbortHandle, time::sleep};
use tracing::debug;

use super::{
    inbox::{Inbox, Message},
    message,
    retry::Trouble,
    supervise::{Supervisor, endless, panicked, report},
};
use crate::{
    clock,
    control::{
        protocol::{Request, Response},
        server::Server,
    },
    kernel::{Events, Log},
    net::{
        vrrp::{Refused, VrrpSocket},
        watcher,
    },
};

/// The kernel's events, on the loop's own thread: they are the first sign of a failure.
pub fn kernel_events(mut events: Events, inbox: Inbox) {
    let feed = inbox.clone();
    tokio::spawn(endless("kernel events".to_owned(), inbox, async move {
        loop {
            let event = events.next().await.context("cannot read the kernel's events")?;
            if feed.send(Message::Kernel(event)).is_err() {
                return Ok(());
            }
        }
    }));
}

/// The programs' log, on a thread that waits for nothing else: there may be no end of lines.
pub fn kernel_log(mut log: Log, inbox: Inbox) -> anyhow::Result<()> {
    /// Lines wake it before.
    const PATIENCE: Duration = Duration::from_secs(60);
    let forward = move || {
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            loop {
                if let Err(e) = log.forward(PATIENCE) {
                    return format!("{e:#}");
                }
            }
        }));
        report(&inbox, "kernel log", &ended.unwrap_or_else(|panic| panicked(&*panic)));
    };
    let thread = thread::Builder::new().name("ogha-log".to_owned()).spawn(forward);
    thread.map(drop).context("the programs' log has no reader")
}

/// Adverts of other routers on the instance's interface; the handle ends it. What can't be read is read again with growing
/// pauses: a socket that is broken must not keep a thread of real-time priority busy.
pub fn adverts(index: usize, instance: &str, socket: Arc<VrrpSocket>, inbox: Inbox) -> AbortHandle {
    let mut trouble = Trouble::new(instance, "read adverts");
    let feed = inbox.clone();
    tokio::spawn(endless(format!("adverts of {instance}"), inbox, async move {
        loop {
            match socket.receive().await {
                Ok((source, advert)) => {
                    trouble.worked();
                    let advert = message::Message::Advert(source, advert);
                    if feed.send(Message::Instance(index, advert)).is_err() {
                        return Ok(());
                    }
                }
                Err(Refused::Socket(e)) => {
                    let now = clock::now();
                    trouble.failed(now, &e.to_string());
                    sleep(trouble.retry.at().map_or(Duration::ZERO, |at| at.since(now))).await;
                }
                Err(e) => {
                    trouble.worked();
                    debug!("an advert was refused: {e:#}");
                }
            }
        }
    }))
    .abort_handle()
}

/// What the host's interfaces and addresses are, after each change and now and then.
pub fn surveys(supervisor: &Supervisor) {
    let inbox = supervisor.inbox().clone();
    supervisor.spawn("watch of the interfaces", async move {
        let mut trouble = Trouble::new("", "watch the interfaces and addresses of this host");
        loop {
            let mut see = |survey| {
                trouble.worked();
                inbox.send(Message::Surveyed(survey)).is_ok()
            };
            match watcher::watch(&mut see).await {
                Ok(()) => return Ok(()),
                Err(e) => {
                    let now = clock::now();
                    trouble.failed(now, &format!("{e:#}"));
                    sleep(trouble.retry.at().map_or(Duration::ZERO, |at| at.since(now))).await;
                }
            }
        }
    });
}

/// Operators' requests.
pub fn control(server: Server, inbox: Inbox, supervisor: &Supervisor) {
    let serve = server.serve(move |request: Request| {
        let inbox = inbox.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            drop(inbox.send(Message::Control(request, answer)));
            answered.await.unwrap_or_else(|_| Response::error("the agent is stopping"))
        }
    });
    supervisor.spawn("control server", async move {
        serve.await;
        bail!("cannot serve the control socket")
    });
}
