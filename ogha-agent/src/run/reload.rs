//! The configuration is read again while the agent runs (SIGHUP, `ogha-agent reload`): what may change takes
//! effect without a failover, what needs a restart is named by its key, and a file that is wrong changes
//! nothing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use super::{hosted::Hosted, inbox::Message, supervise::Supervisor};
use crate::{
    config::Config,
    control::{order::Reloaded, protocol::Response, view::ConfigurationView},
    logging,
};

/// How long the file is waited for: less than a client waits.
const READING: Duration = Duration::from_secs(3);

/// So many problems of a file are shown in the status.
const SHOWN: usize = 10;

/// What came of reading the file: the problems, one a line.
pub type Read = Result<Box<Config>, Vec<String>>;

/// The configuration that this agent goes by.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    config: Config,
    /// The file is being read, for those who asked before that began.
    reading: Option<Vec<oneshot::Sender<Response>>>,
    /// Whoever asked meanwhile; the file is read again for them.
    waiting: Option<Vec<oneshot::Sender<Response>>>,
    view: ConfigurationView,
}

impl Reload {
    /// Goes by this, which was in that file.
    pub fn new(file: &Path, config: &Config) -> Self {
        Self {
            file: file.to_owned(),
            config: config.clone(),
            reading: None,
            waiting: None,
            view: ConfigurationView::default(),
        }
    }

    /// What operators see of it.
    pub fn view(&self) -> &ConfigurationView {
        &self.view
    }

    /// Has the file read. Two readings at a time could take effect in the wrong order.
    pub fn order(&mut self, answer: Option<oneshot::Sender<Response>>, supervisor: &Supervisor) {
        if self.reading.is_some() {
            self.waiting.get_or_insert_default().extend(answer);
            return;
        }
        self.reading = Some(answer.into_iter().collect());
        let (file, inbox) = (self.file.clone(), supervisor.inbox().clone());
        supervisor.spawn_job("reload".to_owned(), async move {
            let read = read(file).await;
            // The loop may have ended.
            let _ = inbox.send(Message::Reload(read));
        });
    }

    /// The file was read.
    pub fn done(&mut self, read: Read, node: &str, hosted: &mut [Hosted], supervisor: &Supervisor) {
        let reloaded = match read {
            Ok(newer) => self.take_on(&newer, hosted),
            Err(problems) => {
                error!("the configuration was not reloaded and nothing was changed");
                problems.iter().for_each(|problem| error!("{problem}"));
                Reloaded { problems, ..Reloaded::default() }
            }
        };
        self.view.problems = reloaded.problems.iter().take(SHOWN).cloned().collect();
        if let more @ 1.. = reloaded.problems.len().saturating_sub(SHOWN) {
            self.view.problems.push(format!("and {more} more; `ogha-agent reload` has them all"));
        }
        if reloaded.problems.is_empty() {
            self.view.needs_restart.clone_from(&reloaded.needs_restart);
        }
        for answer in self.reading.take().into_iter().flatten() {
            let reloaded = Reloaded { node: node.to_owned(), ..reloaded.clone() };
            // Whoever asked may have gone.
            let _ = answer.send(Response::Reloaded(reloaded));
        }
        if let Some(waiting) = self.waiting.take() {
            self.order(None, supervisor);
            self.reading.get_or_insert_default().extend(waiting);
        }
    }

    fn take_on(&mut self, newer: &Config, hosted: &mut [Hosted]) -> Reloaded {
        let difference = self.config.difference(newer);
        for (one, instance) in hosted.iter_mut().zip(&difference.taken.instances) {
            one.reconfigure(instance);
        }
        logging::follow(&difference.taken.node.log);
        self.config = difference.taken;
        let (changed, needs_restart) = (difference.changed, difference.needs_restart);
        match changed.is_empty() {
            true => info!("configuration reloaded: nothing changed"),
            false => info!("configuration reloaded; changed: {}", changed.join(", ")),
        }
        if !needs_restart.is_empty() {
            warn!("only a restart of the agent takes on: {}", needs_restart.join(", "));
        }
        Reloaded { changed, needs_restart, ..Reloaded::default() }
    }
}

/// On a thread that may hang with the file.
async fn read(file: PathBuf) -> Read {
    let shown = file.display().to_string();
    let reading = spawn_blocking(move || {
        let config = Config::load(&file)?;
        config.check_start(&file)?;
        Ok(Box::new(config))
    });
    match timeout(READING, reading).await {
        Ok(Ok(read)) => read.map_err(|errors: crate::config::Errors| {
            errors.to_string().lines().map(str::to_owned).collect()
        }),
        Ok(Err(e)) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Ok(Err(e)) => Err(vec![format!("{shown}: {e}")]),
        Err(_) => Err(vec![format!("{shown}: reading it did not end within {READING:?}")]),
    }
}
