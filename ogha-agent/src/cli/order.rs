//! What the commands that change something have in common: they order, and then follow what comes of
//! it until it has ended.

use std::{
    io::Write as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};

use super::{Failure, output};
use crate::control::{
    DEFAULT_SOCKET, client,
    order::{About, Accepted},
    protocol::{Request, Response},
    view::InstanceView,
};

/// How often the agent is asked how far it is.
const POLL_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The instance; only needed where there are several
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// One line of JSON at the end: the instance, as `status --json` has it
    #[arg(long)]
    json: bool,
    /// The agent's control socket: `agent.sock` in its run_dir
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// What a look at the instance says of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OrderState {
    /// Under way: what is happening.
    Going(String),
    /// It is done: what to say.
    Done(String),
    /// It has failed: why, and what to do.
    Failed(String),
}

impl Args {
    pub(super) fn about(&self) -> About {
        About { instance: self.instance.clone() }
    }

    pub(super) fn instance(&self) -> Option<String> {
        self.instance.clone()
    }

    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// Has the agent accept the order.
    ///
    /// # Errors
    /// It is refused, or nobody is there to ask.
    pub(super) fn give(&self, order: &Request) -> Result<Accepted, Failure> {
        match client::ask(&self.socket, order)? {
            Response::Accepted(accepted) => Ok(accepted),
            Response::Error(why) => Err(Failure::failed(anyhow!(why))),
            other => Err(Failure::failed(anyhow!("the agent answered with its {}", other.kind()))),
        }
    }

    /// Polls until the order has ended, and prints each change on standard error.
    ///
    /// # Errors
    /// It has failed, it was not done in time, or the agent no longer answers.
    pub(super) fn follow(
        &self,
        accepted: &Accepted,
        patience: Option<Duration>,
        mut judge: impl FnMut(&InstanceView, Duration) -> OrderState,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut reported = String::new();
        loop {
            let view = self.poll_status(&accepted.instance)?;
            match judge(&view, began.elapsed()) {
                OrderState::Done(word) => return self.end(&view, &word),
                OrderState::Failed(why) => return Err(Failure::failed(anyhow!(why))),
                OrderState::Going(word) if word != reported => {
                    tell(&word);
                    reported = word;
                }
                OrderState::Going(_) => {}
            }
            if let Some(patience) = patience.filter(|patience| began.elapsed() >= *patience) {
                return Err(Failure::failed(anyhow!(
                    "not done within {patience:?}: {reported}. The agent continues; `ogha-agent status` \
                     shows its progress"
                )));
            }
            thread::sleep(POLL_EVERY);
        }
    }

    /// The order was done: its last word.
    pub(super) fn end(&self, view: &InstanceView, word: &str) -> Result<(), Failure> {
        if self.json { output::json(view) } else { output::print(&format!("{word}\n")) }
    }

    /// The instance, as it is now.
    pub(super) fn poll_status(&self, instance: &str) -> Result<InstanceView, Failure> {
        let status = match client::ask(&self.socket, &Request::Status)? {
            Response::Status(status) => status,
            Response::Error(why) => return Err(Failure::failed(anyhow!(why))),
            other => {
                let kind = other.kind();
                return Err(Failure::failed(anyhow!("the agent answered with its {kind}")));
            }
        };
        let found = status.instances.into_iter().find(|view| view.name == instance);
        Ok(found.with_context(|| format!("the agent has no instance {instance} any more"))?)
    }
}

/// Where standard error is closed nobody wants to hear it.
pub(super) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
