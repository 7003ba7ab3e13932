//! SQL without async: one question at a time.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, tls::NoTlsStream};

/// The table that writers write.
pub const TABLE: &str = "writes";

/// How long an answer may take: only a stopped database takes longer.
const ANSWER: Duration = Duration::from_secs(10);

/// Who connects to which database on any server of the lab.
#[must_use]
pub fn login() -> Config {
    let mut config = Config::new();
    config.user("postgres").dbname("postgres");
    config
}

/// A connection that the caller drives.
#[derive(Debug)]
pub struct Session {
    runtime: Runtime,
    client: Client,
}

impl Session {
    /// Connects through the socket in `directory`, which works from any network namespace.
    ///
    /// # Errors
    /// If no server answers.
    pub fn open(directory: &Path, port: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let mut config = login();
            config.host_path(directory).port(port);
            let (client, connection) = timeout(ANSWER, config.connect(NoTls)).await??;
            tokio::spawn(connection);
            anyhow::Ok(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// The rows of the answer, each value as text.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub fn rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self
            .runtime
            .block_on(async { timeout(ANSWER, self.client.simple_query(query)).await })
            .with_context(|| format!("no answer in {} s: {query}", ANSWER.as_secs()))?
            .with_context(|| format!("refused: {query}"))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| (0..row.len()).map(|column| row.get(column).map(Into::into)).collect())
            .collect())
    }

    /// The first value of the first row.
    ///
    /// # Errors
    /// As [`rows`](Self::rows), and if there is no row.
    pub fn value(&self, query: &str) -> Result<String> {
        let row = self.rows(query)?.into_iter().next();
        let value = row.and_then(|row| row.into_iter().next().flatten());
        value.with_context(|| format!("no value: {query}"))
    }
}

/// Opens a session over a connection of the caller's making, within the runtime of the caller.
///
/// # Errors
/// What the server says, or that it has gone.
pub async fn log_in(stream: TcpStream) -> Result<Client, tokio_postgres::Error> {
    let (client, connection): (_, tokio_postgres::Connection<_, NoTlsStream>) =
        login().connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
