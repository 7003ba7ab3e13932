//! Whom commits wait for.
//!
//! `ALTER SYSTEM` writes `postgresql.auto.conf`, which wins over `postgresql.conf`; it works on a
//! standby too. Nothing here waits for a standby itself: neither statement writes to the log, and
//! the session's own `synchronous_commit` is `local`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    super::{
        replication::{self, Row as Standby},
        sql,
    },
    Postgresql, observe,
};

/// How long the setting may take to be in force. A checkpoint that flushes its files holds it up.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// The columns of [`observe::standbys`] from the third on.
const LOOK: &str = "select current_setting('synchronous_standby_names'), \
    (select wait_event from pg_stat_activity where backend_type = 'checkpointer'), \
    application_name, host(client_addr), state, sync_state, flush_lsn \
    from (select) as once left join pg_stat_replication on not pg_is_in_recovery()";
const FIRST: usize = 2;

impl Postgresql {
    pub(super) async fn synchronize(&self, wanted: &[String]) -> anyhow::Result<()> {
        let rows = self.order(LOOK).await?;
        let rows = observe::standbys(&rows, FIRST);
        let names = replication::application_names(wanted, &self.nodes, &rows)?;
        let value = replication::demand(&names);
        self.order("set synchronous_commit = local").await?;
        let statement = format!("alter system set synchronous_standby_names = {}", literal(&value));
        self.order(&statement).await?;
        self.order("select pg_reload_conf()").await?;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let rows = self.order(LOOK).await?;
            let now = observe::cell(&rows, 0).unwrap_or_default();
            let standbys = observe::standbys(&rows, FIRST);
            // One that does not stream cannot confirm, and is waited for nevertheless; one that has
            // confirmed nothing yet is called `async`, whatever is set.
            let speaks = |row: &&Standby| row.state == "streaming" && row.flush.is_some();
            let uncounted = standbys.iter().filter(speaks).find(|row| {
                let named =
                    names.iter().any(|name| name.eq_ignore_ascii_case(&row.application_name));
                named != matches!(row.sync.as_str(), "sync" | "quorum")
            });
            let checkpointer = observe::cell(&rows, 1);
            if now == value && uncounted.is_none() && observe::settled(checkpointer) {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "synchronous_standby_names = {value:?} was written and is not in force after \
                 {DEADLINE:?}: the server says {now:?}, its checkpointer is at {}, {}. A long \
                 checkpoint, or a setting on the server's command line, may be the reason",
                checkpointer.unwrap_or("work"),
                uncounted.map_or_else(
                    || "and all standbys count as they should".to_owned(),
                    |row| format!("and {} is {}", row.application_name, row.sync)
                )
            );
            sleep(POLL).await;
        }
    }

    /// Asks on the connection for orders, whose session is not the one that observes.
    pub(super) async fn order(&self, statement: &str) -> Result<Vec<sql::Row>, sql::Error> {
        self.orders.query(statement, sql::DEADLINE).await
    }
}

/// A string in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
