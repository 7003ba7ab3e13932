//! What a rejoin would do: the same questions in the same order, and nothing is changed. No server is
//! started or stopped, and the end of a log is read where the rejoin itself would replay it.

use std::time::Duration;

use ogha_common::units::Lsn;

use super::{
    super::{
        super::{
            Observation,
            control::Control,
            files,
            kept::{self, Size},
            lost,
            plan::{Keeps, Plan, Way},
        },
        Postgresql,
        history::{Entry, History},
        inquiry::Reach,
        privileges,
    },
    Rejoin, backup,
    journal::{Journal, RejoinPhase},
    source::Source,
    written::Written,
};

impl Postgresql {
    /// The plan of a rejoin to that peer.
    ///
    /// # Errors
    /// When not even the data directory can be looked at.
    pub(in crate::database) async fn plan(&self, node: &str) -> anyhow::Result<Plan> {
        let peer = self.nodes.peer(node)?.clone();
        let data_dir = self.local.as_owner(|| files::real(self.data_dir()))?;
        let mut plan = Plan { of: node.to_owned(), ..Plan::default() };
        let dir = data_dir.clone();
        plan.left = self.local.act(move || kept::beside(&dir)).await?;
        let seen = self.observe_once().await;
        plan.stops = seen.process.pid().is_some();
        let dir = data_dir.clone();
        let journal = self.local.act(move || Journal::load(&dir)).await?;
        if journal.is_none() && self.streams_within(&peer, None, Duration::ZERO).await.is_ok() {
            plan.way = Way::Nothing;
            return Ok(plan);
        }
        let rejoin = match self.prepared(journal, peer, data_dir).await {
            Ok(rejoin) => rejoin,
            Err(error) => {
                plan.obstacles.push(format!("{error:#}"));
                return Ok(plan);
            }
        };
        if let Err(error) = rejoin.examine(&mut plan, &seen).await {
            plan.obstacles.push(format!("{error:#}"));
        }
        rejoin.count_what_is_kept(&mut plan).await?;
        Ok(plan)
    }

    /// Logs in at a peer as a rejoin would.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(in crate::database) async fn reach(&self, node: &str) -> anyhow::Result<Reach> {
        let peer = self.nodes.peer(node)?.clone();
        let rejoin = self.prepared(None, peer, self.data_dir().to_owned()).await?;
        let system = rejoin.source().await?.system;
        let user = rejoin.conninfo.get("user").unwrap_or_default().to_owned();
        let lacking = match rejoin.sql(privileges::REWIND).await {
            Ok(row) => privileges::lacking(row.trim()),
            Err(error) => {
                Some(format!("cannot log in to a database, as pg_rewind does: {error:#}"))
            }
        };
        Ok(Reach { user, system, lacking })
    }
}

impl Rejoin<'_> {
    async fn examine(&self, plan: &mut Plan, seen: &Observation) -> anyhow::Result<()> {
        if let Some(lost) = &self.journal.lost {
            plan.loses = Some(lost.to_string());
        }
        match self.journal.phase {
            RejoinPhase::Whole => {}
            RejoinPhase::Rewinding => {
                plan.way = Way::Copy;
                plan.why.push("an earlier rejoin was interrupted while it rewound".to_owned());
                return self.room(plan).await;
            }
            RejoinPhase::Copied => {
                plan.way = Way::Copy;
                plan.why.push("an earlier rejoin has made the copy; it takes its place".to_owned());
                return Ok(());
            }
        }
        let source = self.source().await?;
        let control = self.driver.control().await?;
        self.same_cluster(&source, &control)?;
        match self.discarded(&source, &control, seen).await? {
            None => {
                plan.way = Way::Follow;
                plan.why.push(format!("{} has all that this node has", self.peer.name));
                self.is_log_there(plan, seen, &control).await
            }
            Some((lost, words)) => {
                plan.loses = Some(words);
                self.rewind_or_copy(plan, &lost, &control).await
            }
        }
    }

    /// What this node has and the upstream has not, as [`Rejoin::diverged`] finds it; and in words.
    async fn discarded(
        &self,
        source: &Source,
        control: &Control,
        seen: &Observation,
    ) -> anyhow::Result<Option<(lost::Lost, String)>> {
        let newest =
            control.timeline.max(control.recovery_timeline).max(seen.timeline.unwrap_or(0));
        let own = self.history(newest).await?;
        let fork = self.fork(&own.1, source)?;
        if fork.is_open() {
            let end = match seen.lsn {
                Some(lsn) => lsn,
                None if control.shut_down() => control.checkpoint,
                None => self
                    .written(own.0, control.checkpoint, control.segment)
                    .await?
                    .map_or(control.checkpoint, |w| w.end),
            };
            self.not_ahead(end, source)?;
            return Ok(None);
        }
        let Some(written) = self.written_since(&own.1, fork, control.segment).await? else {
            return Ok(None);
        };
        let kept = lost::beside_now(&self.data_dir, "lost");
        let lost = lost::Lost::new(fork.timeline, fork.end, written.end, kept);
        let (from, to, bytes) = (&lost.from, &lost.to, Size(lost.bytes));
        let words =
            format!("timeline {} from {from} to {to} ({bytes} of WAL): {written}", fork.timeline);
        Ok(Some((lost, words)))
    }

    async fn written(
        &self,
        timeline: u32,
        from: Lsn,
        segment: u64,
    ) -> anyhow::Result<Option<Written>> {
        let log = self.data_dir.join("pg_wal");
        let dir = log.clone();
        let limit = self.act(move |_| lost::consecutive_end(&dir, timeline, from, segment)).await?;
        match limit {
            Some(limit) => Written::read(&self.driver.local, &log, timeline, from, limit).await,
            None => Ok(None),
        }
    }

    /// All that stands in the log behind the fork, on each timeline that this node has gone through. The
    /// last file of one that was left has the next one's number, and begins as that file did.
    async fn written_since(
        &self,
        own: &History,
        fork: Entry,
        segment: u64,
    ) -> anyhow::Result<Option<Written>> {
        let (mut all, mut unread) = (None::<Written>, None);
        for (timeline, from) in own.since(fork) {
            let begin = unread.take().unwrap_or(from);
            let mut found = self.written(timeline, begin, segment).await?;
            if found.is_none() && begin != from {
                found = self.written(timeline, from, segment).await?;
            }
            match found {
                Some(more) => all = Some(all.map_or(more, |all| all.and(more))),
                None => unread = Some(begin),
            }
        }
        Ok(all)
    }

    /// The upstream must still have the log from this node's end on.
    async fn is_log_there(
        &self,
        plan: &mut Plan,
        seen: &Observation,
        control: &Control,
    ) -> anyhow::Result<()> {
        let oldest = self
            .sql("select pg_catalog.min(pg_catalog.substr(name, 9)) from pg_catalog.pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'")
            .await;
        let from = seen.lsn.unwrap_or(control.checkpoint);
        let needed = lost::segment_name(from, control.segment);
        match oldest {
            Err(_) => plan.notes.push(format!(
                "whether {} still has the WAL from {from} on is not known: its user may not call \
                 pg_ls_waldir(). If it has not, the whole database is copied",
                self.peer.name
            )),
            Ok(oldest) if oldest.trim() > needed.as_str() => {
                plan.way = Way::Copy;
                plan.why = vec![format!(
                    "{} has no WAL from {from} on any more, where that of this node ends",
                    self.peer.name
                )];
                return self.room(plan).await;
            }
            Ok(_) => {}
        }
        Ok(())
    }

    async fn rewind_or_copy(
        &self,
        plan: &mut Plan,
        lost: &lost::Lost,
        control: &Control,
    ) -> anyhow::Result<()> {
        let peer = &self.peer.name;
        let parted = format!("the histories part on timeline {} at {}", lost.timeline, lost.from);
        plan.why.push(parted);
        let hinders = if control.rewindable {
            self.hinders_rewind(control).await
        } else {
            Some(
                "it needs page checksums or wal_log_hints = on, and this cluster has neither"
                    .into(),
            )
        };
        if let Some(why) = hinders {
            plan.way = Way::Copy;
            plan.why.push(format!("pg_rewind cannot be used: {why}"));
            return self.room(plan).await;
        }
        plan.way = Way::Rewind;
        let (log, lost) = (self.data_dir.join("pg_wal"), lost.clone());
        let segment = control.segment;
        let (place, what) = (lost.kept.clone(), "the WAL of what is lost".to_owned());
        let bytes = self.act(move |_| lost::kept_size(&lost, &log, segment)).await?;
        plan.keeps.push(Keeps { place, bytes, what });
        let immovable = self.act(backup::immovable).await?;
        if !immovable.is_empty() {
            plan.notes.push(format!(
                "if pg_rewind fails, a copy of {peer} cannot take the place of the database here: {}",
                immovable.join("; ")
            ));
        }
        Ok(())
    }

    /// Why `pg_rewind` would fail, as far as that shows without stopping anything.
    async fn hinders_rewind(&self, control: &Control) -> Option<String> {
        let lacking = match self.sql(privileges::REWIND).await {
            Ok(text) => privileges::lacking(text.trim()),
            Err(error) => return Some(format!("{error:#}")),
        };
        if let Some(lacking) = lacking {
            let user = self.conninfo.get("user").unwrap_or_default();
            return Some(format!("user {user} at {} {lacking}", self.peer.name));
        }
        if !control.state.starts_with("shut down") {
            // It wants a server that is shut down, which the rejoin takes care of.
            return None;
        }
        let tried = self
            .pg_rewind(&["--dry-run"])
            .await
            .and_then(|tried| tried.success("pg_rewind --dry-run"));
        tried.err().map(|error| format!("{error:#}"))
    }

    /// What a copy needs.
    async fn room(&self, plan: &mut Plan) -> anyhow::Result<()> {
        let immovable = self.act(backup::immovable).await?;
        plan.obstacles.extend(immovable.into_iter().map(|what| {
            format!("{what}, so that a copy cannot take the place of the data directory")
        }));
        let room = self.measure_room().await?;
        match room.is_enough() {
            true => plan.why.push(format!("the copy needs {room}")),
            false => plan.obstacles.push(format!("the copy needs {room}: make room there")),
        }
        let bytes = self.act(files::size).await?;
        let place = self
            .journal
            .before
            .clone()
            .unwrap_or_else(|| lost::beside_now(&self.data_dir, "before"));
        let what = if plan.loses.is_some() {
            "the former data directory"
        } else {
            "the former data directory, removed once the copy works"
        };
        plan.keeps.push(Keeps { place, bytes, what: what.to_owned() });
        Ok(())
    }

    /// This node's configuration comes back whatever is copied.
    async fn count_what_is_kept(&self, plan: &mut Plan) -> anyhow::Result<()> {
        if !matches!(plan.way, Way::Rewind | Way::Copy) {
            return Ok(());
        }
        let (names, bytes) = self.act(Journal::would_keep).await?;
        let what = format!("this node's own files, put back afterwards: {}", names.join(", "));
        plan.keeps.push(Keeps { place: Journal::dir(&self.data_dir), bytes, what });
        Ok(())
    }
}
