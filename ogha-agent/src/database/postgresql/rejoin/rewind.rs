//! `pg_rewind`: only what differs is copied.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    super::super::{files, local::Call, lost, process::ToolOutcome},
    Rejoin,
    journal::{Journal, LOCKED, RejoinPhase},
};

/// It may read much of both clusters. Giving the step up ends it as well.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

impl Rejoin<'_> {
    /// Tries it without changing anything.
    pub(super) async fn can_rewind(&self) -> anyhow::Result<()> {
        // It reads the timeline out of the upstream's control file, which learns of a promotion by
        // the checkpoint after it.
        self.sql("CHECKPOINT").await.context("the upstream refuses a checkpoint")?;
        let outcome = self.pg_rewind(&["--dry-run"]).await?;
        outcome.success("pg_rewind --dry-run")?;
        anyhow::ensure!(
            !outcome.text().contains("no rewind required"),
            "pg_rewind sees no difference, and there is one"
        );
        Ok(())
    }

    /// Does it. Until it is done no server starts in the data directory, whatever of it is left.
    pub(super) async fn rewind(&mut self) -> anyhow::Result<()> {
        let lost = self.journal.lost.clone().context("what is lost must be known")?;
        let (log, segment) = (self.data_dir.join("pg_wal"), self.segment);
        self.act(move |_| lost::keep(&lost, &log, segment)).await?;
        self.journal.phase = RejoinPhase::Rewinding;
        self.save().await?;
        self.act(|data_dir| files::set_mode(data_dir, LOCKED)).await?;
        let outcome = self.pg_rewind(&["--progress"]).await?;
        outcome.success("pg_rewind")?;
        self.act(|data_dir| Journal::restore_files(data_dir, data_dir)).await?;
        self.configure().await?;
        self.journal.phase = RejoinPhase::Whole;
        self.save().await?;
        let mode = self.journal.mode;
        self.act(move |data_dir| files::set_mode(data_dir, mode)).await
    }

    pub(super) async fn pg_rewind(&self, arguments: &[&str]) -> anyhow::Result<ToolOutcome> {
        let mut source = self.database();
        let secrets = source.take_secrets();
        let call = Call::new("pg_rewind", DEADLINE)
            .args(arguments)
            .arg("--target-pgdata")
            .arg(&self.data_dir)
            .arg(format!("--source-server={source}"))
            .secrets(secrets)
            .heard_by(self.driver.progress.listener());
        self.driver.local.call(call).await
    }
}
