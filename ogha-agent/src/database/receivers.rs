//! Who receives a primary's log, by `pg_stat_replication`.

use std::sync::Arc;

use super::{
    Kind,
    local::Local,
    sql::{self, Sql},
};

const RECEIVERS: &str = "select application_name, sync_state in ('sync', 'quorum') \
    from pg_stat_replication where state = 'streaming'";

/// A standby that receives the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// What it calls itself.
    pub name: String,
    /// No commit returns without it.
    pub confirmed: bool,
}

/// Asks the server here who receives its log.
#[derive(Debug)]
pub struct Receivers(Option<Sql>);

impl Receivers {
    /// Looks the user up. The server may be down.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn open(kind: &Kind) -> anyhow::Result<Self> {
        Ok(Self(match kind {
            Kind::None { .. } => None,
            Kind::Postgresql(server) | Kind::Opengauss(server) => {
                Some(Sql::new(Arc::new(Local::open(server, &[]).await?)))
            }
        }))
    }

    /// Those that receive now; nobody where the server does not answer.
    pub async fn now(&self) -> Vec<Receiver> {
        let Some(sql) = &self.0 else { return Vec::new() };
        let rows = sql.query(RECEIVERS, sql::DEADLINE).await.unwrap_or_default();
        let receiver = |row: sql::Row| {
            let mut cells = row.into_iter();
            let name = cells.next()??;
            Some(Receiver { name, confirmed: cells.next()?.as_deref() == Some("t") })
        };
        rows.into_iter().filter_map(receiver).collect()
    }
}
