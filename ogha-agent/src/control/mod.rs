//! The control socket, `<run_dir>/agent.sock`: operators ask, the agent answers.
//!
//! One request a connection: a line of JSON in, a line of JSON out. The server never waits in
//! the agent's loop, and the loop never waits for a client.

pub mod client;
pub mod order;
pub mod protocol;
mod render;
pub mod server;
#[cfg(test)]
mod tests;
pub mod view;

use std::path::{Path, PathBuf};

/// Where the socket is by default.
pub const DEFAULT_SOCKET: &str = "/run/ogha/agent.sock";

/// The socket of the agent that has this `run_dir`.
#[must_use]
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("agent.sock")
}
