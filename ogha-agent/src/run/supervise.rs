//! Background tasks: one that ends, or panics, ends the agent, with its name. An agent from which a part
//! is missing would be worse than none: its peers would go on believing in it.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use anyhow::anyhow;
use futures_util::FutureExt as _;
use tokio::{runtime::Handle, task::JoinHandle};

use super::inbox::{Inbox, Message};

/// Starts tasks on the background threads.
#[derive(Clone, Debug)]
pub struct Supervisor {
    background: Handle,
    inbox: Inbox,
}

impl Supervisor {
    /// One that reports to that inbox.
    pub fn new(background: Handle, inbox: Inbox) -> Self {
        Self { background, inbox }
    }

    /// Starts a task that must not end before the agent.
    pub fn spawn(
        &self,
        name: &str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.background.spawn(endless(name.to_owned(), self.inbox.clone(), task));
    }

    /// Starts a task that ends, but must not panic.
    pub fn spawn_job(
        &self,
        name: String,
        job: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let inbox = self.inbox.clone();
        self.background.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(job).catch_unwind().await {
                report(&inbox, &name, &panicked(&*panic));
            }
        })
    }

    /// The threads.
    pub fn handle(&self) -> &Handle {
        &self.background
    }

    /// Where messages go.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }
}

/// A task that must not end before the agent.
pub async fn endless(name: String, inbox: Inbox, task: impl Future<Output = anyhow::Result<()>>) {
    let reason = match AssertUnwindSafe(task).catch_unwind().await {
        Ok(Ok(())) => "it has nothing more to do".to_owned(),
        Ok(Err(e)) => format!("{e:#}"),
        Err(panic) => panicked(&*panic),
    };
    report(&inbox, &name, &reason);
}

/// Ends the agent.
pub fn report(inbox: &Inbox, name: &str, reason: &str) {
    // Nobody hears it when the agent is ending anyway.
    let _ = inbox.send(Message::Broken(anyhow!("background task {name} ended: {reason}")));
}

/// What a panic says.
pub fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("(no message)"))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    async fn ends(task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> String {
        let (inbox, mut messages) = mpsc::unbounded_channel();
        Supervisor::new(Handle::current(), inbox).spawn("disk of VI_1", task);
        match messages.recv().await {
            Some(Message::Broken(e)) => format!("{e:#}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_task_that_ends_is_reported_with_its_name() {
        let begin = "background task disk of VI_1 ended: ";
        assert_eq!(ends(async { Ok(()) }).await, format!("{begin}it has nothing more to do"));
        assert_eq!(ends(async { Err(anyhow!("no disk")) }).await, format!("{begin}no disk"));
        assert_eq!(ends(async { panic!("oh {}", 7) }).await, format!("{begin}it panicked: oh 7"));
    }

    #[tokio::test]
    async fn a_job_may_end_but_not_panic() {
        let (inbox, mut messages) = mpsc::unbounded_channel();
        let supervisor = Supervisor::new(Handle::current(), inbox);
        supervisor.spawn_job("one".to_owned(), async {}).await.unwrap();
        supervisor.spawn_job("two".to_owned(), async { panic!("oh") }).await.unwrap();
        let Some(Message::Broken(e)) = messages.recv().await else { panic!("nothing came") };
        assert_eq!(e.to_string(), "background task two ended: it panicked: oh");
    }
}
