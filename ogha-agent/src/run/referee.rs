//! The worker that asks the arbiter. It has at most one question of each kind under way; a newer one
//! takes its place, for the answer to the older would come too late. (What was asked may still
//! happen: the answer to the newer one shows it.)

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use ogha_common::failover::{Input, Record};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::inbox::{Inbox, Message};
use crate::arbiter::{Answers, Arbiter};

/// When an arbiter that did not say what stands is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is asked whether it is there, so that people know before it is needed.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// The arbiter of one instance, and what is known of it.
#[derive(Debug)]
pub struct Referee {
    kind: &'static str,
    asked: Option<Record>,
    proposals: mpsc::UnboundedSender<Record>,
    consultations: mpsc::UnboundedSender<()>,
    answers: watch::Receiver<Vec<Answer>>,
}

/// One of the addresses or endpoints that make the arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it is.
    pub place: String,
    /// In what time it answered, or why it did not.
    pub came: Result<Duration, String>,
}

impl Referee {
    /// Starts the worker on the background threads.
    pub fn start(
        index: usize,
        arbiter: Arc<dyn Arbiter>,
        inbox: &Inbox,
        background: &Handle,
    ) -> Self {
        let kind = arbiter.kind();
        let (proposals, asked) = mpsc::unbounded_channel();
        background.spawn(propose(index, Arc::clone(&arbiter), inbox.clone(), asked));
        let (consultations, asked) = mpsc::unbounded_channel();
        background.spawn(consult(index, Arc::clone(&arbiter), inbox.clone(), asked));
        let (tell, answers) = watch::channel(Vec::new());
        background.spawn(probe(arbiter, tell));
        Self { kind, asked: None, proposals, consultations, answers }
    }

    /// `none`, `gateway` or `etcd`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Which of its parts answered lately; none before the first look, and of the kind `none`.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.borrow().clone()
    }

    /// Asks for a record.
    pub fn propose(&mut self, record: Record) {
        self.asked = Some(record);
        // The worker lives as long as the agent.
        let _ = self.proposals.send(record);
    }

    /// Whether this record is the one that was asked for last.
    pub fn is_asked(&self, record: &Record) -> bool {
        self.asked == Some(*record)
    }

    /// Asks what stands, until it is answered.
    pub fn consult(&self) {
        let _ = self.consultations.send(());
    }
}

async fn propose(
    index: usize,
    arbiter: Arc<dyn Arbiter>,
    inbox: Inbox,
    mut asked: mpsc::UnboundedReceiver<Record>,
) {
    let mut next = asked.recv().await;
    while let Some(record) = next {
        let ruling = tokio::select! {
            biased;
            newer = asked.recv() => {
                next = newer;
                continue;
            }
            ruling = arbiter.propose(record) => ruling,
        };
        if inbox.send(Message::Ruled(index, record, ruling)).is_err() {
            return;
        }
        next = asked.recv().await;
    }
}

async fn consult(
    index: usize,
    arbiter: Arc<dyn Arbiter>,
    inbox: Inbox,
    mut asked: mpsc::UnboundedReceiver<()>,
) {
    while asked.recv().await.is_some() {
        let mut told = false;
        let record = loop {
            match arbiter.consult().await {
                // Asked again meanwhile: what stands now may be newer.
                Ok(_) if asked.try_recv().is_ok() => {}
                Ok(record) => break record,
                Err(e) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!("the arbiter does not say what stands, and is asked again: {e:#}");
                    }
                    sleep(AGAIN).await;
                }
            }
        };
        if told {
            info!("the arbiter has said what stands");
        }
        if inbox.send(Message::Outcome(index, Input::Consulted(record))).is_err() {
            return;
        }
    }
}

async fn probe(arbiter: Arc<dyn Arbiter>, tell: watch::Sender<Vec<Answer>>) {
    loop {
        let answers = timeout(PROBE_EVERY, arbiter.probe()).await;
        let answers = answers.context("no answer").map(read).unwrap_or_default();
        if tell.send(answers).is_err() {
            return;
        }
        sleep(PROBE_EVERY).await;
    }
}

fn read(answers: Answers) -> Vec<Answer> {
    let read = |(place, came): (String, anyhow::Result<Duration>)| Answer {
        place,
        came: came.map_err(|e| format!("{e:#}")),
    };
    answers.into_iter().map(read).collect()
}
