//! `gsql`: psql, but for the options that psql does not know and the words of a failed connection.

use std::{
    ffi::OsString,
    io::{Write as _, stderr, stdout},
    process::Stdio,
};

use super::node::Node;

/// The exit code of a connection that failed.
const NOT_CONNECTED: u8 = 2;

/// Runs a command line, without the program's name, and returns its exit code.
#[must_use]
pub fn run(node: &Node, arguments: &[String]) -> u8 {
    let mut given = Given::default();
    let rest = given.split(arguments);
    let socket_dir = std::env::var_os("PGHOST").unwrap_or(node.here().socket_dir.clone().into());
    let port = given.port.clone().unwrap_or_else(|| node.here().port.to_string());
    let mut command = node.program("psql");
    command.arg("-X").args(["-p", &port]).args(rest).stdin(Stdio::inherit());
    command.arg("-h").arg(given.host.clone().map_or(socket_dir, OsString::from));
    if let Some(password) = given.password {
        command.env("PGPASSWORD", password);
    }
    if !given.user {
        command.args(["-U", &node.user]);
    }
    let Ok(output) = command.output() else {
        eprintln!("opengauss-sim: psql is not in {}", node.pg_bin.display());
        return 1;
    };
    // A reader that has gone is no reason to fail.
    drop(stdout().write_all(&output.stdout));
    let text = String::from_utf8_lossy(&output.stderr);
    match text.split_once("failed: ") {
        Some((_, reason)) if text.starts_with("psql: error: connection to server") => {
            refused(&given.host.unwrap_or_else(|| "Unknown".to_owned()), &port, reason);
            NOT_CONNECTED
        }
        _ => {
            drop(stderr().write_all(&output.stderr));
            output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
        }
    }
}

fn refused(host: &str, port: &str, reason: &str) {
    if reason.starts_with("FATAL") {
        let reason = reason.trim_end();
        eprintln!("gsql: (connect to V5 server) {reason}\n(connect to V1 server) {reason}");
    } else {
        eprintln!("failed to connect {host}:{port}.");
    }
}

/// The options that matter here, or that psql takes otherwise.
#[derive(Default)]
struct Given {
    host: Option<String>,
    port: Option<String>,
    password: Option<String>,
    user: bool,
}

impl Given {
    /// Takes its own options and returns the others.
    fn split(&mut self, arguments: &[String]) -> Vec<String> {
        let mut rest = Vec::new();
        let mut words = arguments.iter().cloned();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-h" => self.host = words.next(),
                "-p" => self.port = words.next(),
                // A value here, where psql only asks for one.
                "-W" => self.password = words.next(),
                // Maintenance mode, line editing.
                "-m" | "-r" => {}
                "-c" | "-d" | "-f" | "-v" | "-o" | "-F" | "-R" => {
                    rest.push(word);
                    rest.extend(words.next());
                }
                other => {
                    self.user |= other.starts_with("-U");
                    rest.push(word);
                }
            }
        }
        rest
    }
}
