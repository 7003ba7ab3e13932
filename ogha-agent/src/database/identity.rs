//! The system identifier, asked once in a server's life.

use std::sync::{Mutex, PoisonError};

use super::sql::{self, Sql};

const ASK: &str = "select system_identifier from pg_catalog.pg_control_system()";

/// What a server said of itself, and when that server had started.
#[derive(Debug, Default)]
pub(super) struct Identity(Mutex<Option<(String, Option<u64>)>>);

impl Identity {
    /// The identifier of the server that started then. `None` if it does not say.
    pub async fn of(&self, sql: &Sql, started: Option<&str>) -> Option<u64> {
        let started = started?;
        if let Some((server, known)) = &*self.known()
            && server == started
        {
            return *known;
        }
        let found = match sql.query(ASK, sql::DEADLINE).await {
            Ok(rows) => rows.first()?.first()?.as_ref()?.parse().ok(),
            // It has no such function, or it is not for everybody: it need not be asked again.
            Err(sql::Error::Server(_)) => None,
            Err(_) => return None,
        };
        *self.known() = Some((started.to_owned(), found));
        found
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(String, Option<u64>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
