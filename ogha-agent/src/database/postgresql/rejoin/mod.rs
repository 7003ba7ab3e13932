//! Making a database a standby of another, whatever it is now.
//!
//! Three ways, the cheapest that works: it only needs a new primary_conninfo; or `pg_rewind`
//! takes back what it has alone; or it is copied as a whole. Which, is decided by the histories of
//! both and the end of this node's log. What it loses is logged before anything is changed, and kept.
//!
//! It may be killed at any point, with the host, and asked for again. From its first change on there
//! is a [`journal`], and at each moment one of these holds: `standby.signal` is there, the data
//! directory has permissions with which no server starts, or it is not there at all. So nothing that
//! is started there meanwhile takes a write.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use ogha_common::units::Lsn;
use tokio::task::spawn_blocking;

use super::{
    super::{
        Lost, Peer, conninfo::Conninfo, control::Control, files, kept, local::Call, lost, unit,
    },
    Postgresql, auto_conf,
    history::{Entry, History},
    options, power,
};
use crate::guest::process;

mod backup;
pub(super) mod journal;
mod plan;
mod replay;
mod rewind;
mod source;
mod written;

use journal::{Journal, RejoinPhase};
use source::Source;

/// What a standby that ogha made has in its `standby.signal`.
const SIGNAL: &[u8] = b"# ogha made this server a standby.\n";
/// How long a server that runs may take to shut down in order.
const STOP: Duration = Duration::from_secs(30);
/// How long a standby may take to start and replay what it has.
const START: Duration = Duration::from_secs(3600);
/// How long it may take to receive after that.
const STREAM: Duration = Duration::from_secs(30);
const SETTING_DEADLINE: Duration = Duration::from_secs(10);
/// Tools of an agent that was killed.
const TOOLS: [&str; 2] = ["pg_rewind", "pg_basebackup"];

/// A rejoin under way.
struct Rejoin<'a> {
    driver: &'a Postgresql,
    peer: Peer,
    /// Without links.
    data_dir: PathBuf,
    journal: Journal,
    /// The connection to the upstream.
    conninfo: Conninfo,
    /// Bytes of a segment of the log.
    segment: u64,
    /// The upstream's timeline and position, when it was asked.
    goal: Option<(u32, Lsn)>,
}

impl Postgresql {
    pub(super) async fn rejoin(&self, node: &str) -> anyhow::Result<()> {
        let _guard = self.local.exclusive()?;
        let peer = self.nodes.peer(node)?.clone();
        let running = self.progress.begin();
        let data_dir = self.local.as_owner(|| files::real(self.data_dir()))?;
        let left = self.local.act({
            let data_dir = data_dir.clone();
            move || Journal::load(&data_dir)
        });
        let left = left.await?;
        let rejoined = self.rejoin_from(left, peer, data_dir.clone()).await;
        let kept = self.local.act(move || kept::beside(&data_dir)).await;
        self.progress.kept(kept.unwrap_or_default());
        match &rejoined {
            Ok(()) => running.done(),
            Err(error) => self.progress.failed(error),
        }
        rejoined
    }

    /// Takes up what an earlier attempt has left, or begins.
    async fn rejoin_from(
        &self,
        left: Option<Journal>,
        peer: Peer,
        data_dir: PathBuf,
    ) -> anyhow::Result<()> {
        if left.is_none() && self.streams_within(&peer, None, Duration::ZERO).await.is_ok() {
            return Ok(());
        }
        self.progress.phase("stopping");
        self.stop_all(&data_dir).await?;
        self.prepared(left, peer, data_dir).await?.run().await
    }

    /// A rejoin that is not begun: what an earlier attempt has left, or the journal of a first one.
    async fn prepared(
        &self,
        left: Option<Journal>,
        peer: Peer,
        data_dir: PathBuf,
    ) -> anyhow::Result<Rejoin<'_>> {
        let journal = match left {
            Some(journal) => self.with_present_conninfo(journal).await,
            None => Journal {
                phase: RejoinPhase::Whole,
                mode: self.local.as_owner(|| files::mode(&data_dir))??,
                conninfo: self.setting("primary_conninfo").await?,
                lost: None,
                before: None,
            },
        };
        let conninfo = self.conninfo(&journal.conninfo, &peer)?;
        let (segment, goal) = (0, None);
        Ok(Rejoin { driver: self, peer, data_dir, journal, conninfo, segment, goal })
    }

    /// Somebody may have mended `primary_conninfo` since an attempt failed: what the files say now
    /// counts, where they can be read.
    async fn with_present_conninfo(&self, mut journal: Journal) -> Journal {
        if journal.phase == RejoinPhase::Whole
            && let Ok(present) = self.setting("primary_conninfo").await
            && !present.is_empty()
        {
            journal.conninfo = present;
        }
        journal
    }

    /// Stops the server, in order if it can, and what an agent that was killed left at work.
    async fn stop_all(&self, data_dir: &Path) -> anyhow::Result<()> {
        let (uid, dir) = (self.local.login.uid().as_raw(), data_dir.to_owned());
        spawn_blocking(move || end_tools(uid, &dir)).await.context("the search panicked")??;
        if !self.local.as_owner(|| files::exists(data_dir))? {
            return Ok(());
        }
        if let Err(error) = unit::fast(&self.local, STOP).await {
            tracing::warn!("{error:#}; an immediate shutdown follows");
        }
        unit::immediate(&self.local).await
    }

    /// A setting of a server that does not run, from all its files.
    pub(super) async fn setting(&self, name: &str) -> anyhow::Result<String> {
        let words = options::last_options(&self.local);
        let call = Call::new("postgres", SETTING_DEADLINE)
            .args(["-C", name, "-D"])
            .arg(self.data_dir())
            .args(options::as_arguments(&words));
        let outcome = self.local.call(call).await?;
        outcome.success(format!("postgres -C {name}"))?;
        Ok(String::from_utf8_lossy(&outcome.stdout).trim_end_matches('\n').to_owned())
    }
}

impl Rejoin<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        if let Some(lost) = self.journal.lost.clone() {
            self.driver.progress.lost(lost);
        }
        match self.journal.phase {
            RejoinPhase::Whole => self.whole().await?,
            RejoinPhase::Rewinding => {
                tracing::warn!(
                    "an earlier rejoin was interrupted while it rewound: a copy is needed"
                );
                self.base_backup().await?;
                self.attach().await?;
            }
            RejoinPhase::Copied => {
                self.swap().await?;
                self.attach().await?;
            }
        }
        self.tidy().await?;
        self.act(Journal::remove).await
    }

    async fn whole(&mut self) -> anyhow::Result<()> {
        self.save().await?;
        let mode = self.journal.mode;
        self.act(move |data_dir| {
            files::replace(&data_dir.join(power::STANDBY), SIGNAL)?;
            Journal::keep_files(data_dir)?;
            Journal::restore_options(data_dir)?;
            files::set_mode(data_dir, mode)
        })
        .await?;
        self.driver.progress.phase("comparing histories");
        let source = self.source().await?;
        let control = self.driver.control().await?;
        self.segment = control.segment;
        self.goal = Some((source.timeline, source.position));
        self.same_cluster(&source, &control)?;
        match self.diverged(&source, &control).await? {
            None => self.follow_or_copy().await,
            Some(lost) => self.take_back(lost, &control).await,
        }
    }

    /// Two clusters that were made apart never follow each other.
    fn same_cluster(&self, source: &Source, control: &Control) -> anyhow::Result<()> {
        anyhow::ensure!(
            source.system == control.system,
            "{} and this node are different database clusters (system identifiers {} and {}): they \
             were made by two runs of initdb. A rejoin changes nothing but that this one starts as a \
             standby; if it is to go, empty {} and copy {} there with pg_basebackup",
            self.peer.name,
            source.system,
            control.system,
            self.data_dir.display(),
            self.peer.name
        );
        Ok(())
    }

    /// Where the histories part.
    fn fork(&self, own: &History, source: &Source) -> anyhow::Result<Entry> {
        own.fork(&source.history)
            .with_context(|| format!("this node and {} have no timeline in common", self.peer.name))
    }

    /// Of two on one timeline, the one that is ahead does not follow.
    fn not_ahead(&self, end: Lsn, source: &Source) -> anyhow::Result<()> {
        anyhow::ensure!(
            end <= source.position,
            "this node's WAL ends at {end}, and that of {} at {}, on the same timeline: it is \
             not behind but ahead. {} must be promoted before others follow it",
            self.peer.name,
            source.position,
            self.peer.name
        );
        Ok(())
    }

    /// What this node has and the upstream has not; `None` if it has all.
    async fn diverged(&self, source: &Source, control: &Control) -> anyhow::Result<Option<Lost>> {
        let own = self.history(control.timeline.max(control.recovery_timeline)).await?;
        let fork = self.fork(&own.1, source)?;
        let end = if control.shut_down() {
            control.checkpoint
        } else {
            self.driver.progress.phase("replaying its own log");
            let end = self.driver.replay().await;
            self.act(Journal::restore_options).await?;
            end?
        };
        // The last record of what was shut down begins at `end`; of the others it ends there.
        let reaches = |fork: Entry| end < fork.end || (end == fork.end && !control.shut_down());
        if fork.is_open() {
            self.not_ahead(end, source)?;
            return Ok(None);
        }
        if reaches(fork) && own.0 == fork.timeline {
            return Ok(None);
        }
        let kept = lost::beside_now(&self.data_dir, "lost");
        Ok(Some(Lost::new(fork.timeline, fork.end, end, kept)))
    }

    async fn history(&self, timeline: u32) -> anyhow::Result<(u32, History)> {
        let text = self
            .act(move |data_dir| {
                files::read(&data_dir.join(format!("pg_wal/{timeline:08X}.history")))
            })
            .await?;
        anyhow::ensure!(
            timeline == 1 || text.is_some(),
            "the history of timeline {timeline} is missing in {}",
            self.data_dir.join("pg_wal").display()
        );
        let text = text.unwrap_or_default();
        Ok((timeline, History::parse(timeline, &String::from_utf8_lossy(&text))))
    }

    async fn follow_or_copy(&mut self) -> anyhow::Result<()> {
        let Err(error) = self.attach().await else { return Ok(()) };
        // If the upstream answers, the log that this node lacks is the likely reason.
        self.source().await.with_context(|| format!("it could not follow: {error:#}"))?;
        tracing::warn!("{error:#}; a full copy is made");
        self.driver.stop_all(&self.data_dir).await?;
        self.base_backup().await?;
        self.attach().await
    }

    async fn take_back(&mut self, lost: Lost, control: &Control) -> anyhow::Result<()> {
        let peer = &self.peer.name;
        tracing::warn!(
            "this node has writes that {peer} does not have; they are discarded: {lost}"
        );
        self.driver.progress.lost(lost.clone());
        self.journal.lost = Some(lost);
        self.save().await?;
        self.driver.progress.phase("rewinding");
        let rewound = if control.rewindable {
            match self.can_rewind().await {
                Ok(()) => match self.rewind().await {
                    Ok(()) => self.attach().await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            }
        } else {
            Err(anyhow::anyhow!(
                "pg_rewind needs page checksums or wal_log_hints = on, and this cluster has neither"
            ))
        };
        let Err(error) = rewound else { return Ok(()) };
        tracing::warn!("cannot rewind the database: {error:#}; a full copy is made");
        let error = error.context("cannot rewind the database, so a full copy is made");
        self.driver.progress.because(&error);
        self.driver.stop_all(&self.data_dir).await?;
        self.base_backup().await?;
        if let Some(lost) = self.journal.lost.clone() {
            self.driver.progress.lost(lost);
        }
        self.attach().await
    }

    /// Starts it as a standby of the upstream and waits until it receives.
    async fn attach(&self) -> anyhow::Result<()> {
        self.driver.progress.phase("starting");
        self.configure().await?;
        self.driver.launch(START).await?;
        self.driver.progress.phase("waiting for the log");
        let node = &self.peer.name;
        let streams = self.driver.streams_within(&self.peer, self.goal, STREAM);
        streams.await.map_err(|last| {
            anyhow::anyhow!(
                "the standby started and does not receive from {node} after {STREAM:?} ({}); its \
                 log says: {}",
                last.state,
                self.driver.last_log(0)
            )
        })
    }

    /// Whom it follows, and that it waits for nobody when it is promoted one day.
    fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("primary_conninfo", self.conninfo.to_string()),
            ("synchronous_standby_names", String::new()),
        ]
    }

    async fn configure(&self) -> anyhow::Result<()> {
        let settings = self.settings();
        self.act(move |data_dir| configure(data_dir, &settings)).await
    }

    async fn save(&self) -> anyhow::Result<()> {
        let journal = self.journal.clone();
        self.act(move |data_dir| journal.save(data_dir)).await
    }

    /// Works on the data directory, or beside it, as its owner.
    async fn act<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let data_dir = self.data_dir.clone();
        self.driver.local.act(move || work(&data_dir)).await
    }
}

/// Makes the server in a directory a standby.
fn configure(data_dir: &Path, settings: &[(&'static str, String)]) -> anyhow::Result<()> {
    files::replace(&data_dir.join(power::STANDBY), SIGNAL)?;
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    auto_conf::set(data_dir, &settings)
}

/// Kills the tools that still work on the data directory: whoever started them has gone, for one
/// rejoin at a time is under way.
fn end_tools(uid: u32, data_dir: &Path) -> anyhow::Result<()> {
    let dir = data_dir.to_string_lossy().into_owned();
    let new = lost::beside(data_dir, "new");
    process::end_tools(uid, &TOOLS, &|word| word == dir || Path::new(word) == new)
}
