//! The log: to standard error, INFO and above unless configured otherwise.

use std::io::{IsTerminal as _, stderr};

use anyhow::{Context as _, anyhow};
use tracing_subscriber::{EnvFilter, fmt};

use super::Failure;

/// Starts the log. `filter` comes before `RUST_LOG`; both are directives such as `debug` or
/// `info,ogha_agent::net=trace`. Under the journal, which has its own, lines carry no time.
pub(super) fn start(filter: Option<&str>) -> Result<(), Failure> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let (name, directives) = match (filter, from_environment.as_deref()) {
        (Some(filter), _) => ("--log", filter),
        (None, Some(filter)) if !filter.trim().is_empty() => (EnvFilter::DEFAULT_ENV, filter),
        (None, _) => ("the default", "info"),
    };
    let filter = EnvFilter::builder()
        .parse(directives)
        .with_context(|| {
            format!("{name}: {directives:?} is no log filter; write for example debug")
        })
        .map_err(Failure::start_up)?;
    let log = fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    let started = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    };
    started.map_err(|error| Failure::failed(anyhow!("cannot start the log: {error}")))
}
