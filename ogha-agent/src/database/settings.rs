//! What a server is set to, for a person who asks.

use std::{collections::HashMap, sync::Arc};

use super::{
    DatabaseKind,
    local::Local,
    sql::{self, Sql},
};

const SETTINGS: &str = "select name, setting from pg_catalog.pg_settings where name in (\
    'synchronous_commit', 'synchronous_standby_names', 'wal_log_hints', 'data_checksums', \
    'full_page_writes', 'fsync', 'hot_standby', 'max_wal_senders', 'primary_conninfo', \
    'most_available_sync', 'listen_addresses', 'port')";

/// The settings that matter for a failover, by name; those that the server does not have are not
/// there. A setting that only a superuser may see is not there for others.
///
/// # Errors
/// When the server does not answer.
pub async fn settings(kind: &DatabaseKind) -> anyhow::Result<HashMap<String, String>> {
    let (DatabaseKind::Postgresql(server) | DatabaseKind::Opengauss(server)) = kind else {
        return Ok(HashMap::new());
    };
    let sql = Sql::new(Arc::new(Local::open(server, &[]).await?));
    let rows = sql.query(SETTINGS, sql::DEADLINE).await?;
    let pair = |row: sql::Row| {
        let mut cells = row.into_iter();
        Some((cells.next()??, cells.next()??))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}
