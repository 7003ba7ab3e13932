//! `gs_ctl`: the command line, and who does what.

mod build;
mod failover;
mod notify;
mod options;
mod query;
mod start;
mod status;
mod stop;

use std::{fs, fs::File, path::PathBuf};

use nix::{
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};

pub use options::Options;

use super::{
    node::Node,
    report::{log, raw},
};

/// The exit code of a failure.
pub const FAILED: u8 = 1;

/// Runs a command line, without the program's name, and returns its exit code.
#[must_use]
pub fn run(node: &Node, arguments: &[String]) -> u8 {
    if geteuid().is_root() {
        raw(" cannot be run as root\nPlease log in (using, e.g., \"su\") as the (unprivileged) \
             user that will\nown the server process.\n");
        return FAILED;
    }
    if node.faults().hung {
        loop {
            std::thread::park();
        }
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            raw(&format!("{error}\nTry \"gs_ctl --help\" for more information.\n"));
            return FAILED;
        }
    };
    // The commands print this directory, and work in the node's.
    let dir = options.data_dir.clone().unwrap_or_else(|| node.data_dir().to_owned());
    if fs::canonicalize(&dir).ok() != fs::canonicalize(node.data_dir()).ok() {
        raw(&format!(
            "opengauss-sim: {} is not the data directory of this node, which is {}\n",
            dir.display(),
            node.data_dir().display()
        ));
        return FAILED;
    }
    dispatch(&Call { node, options: &options, dir })
}

/// A command line on a node.
struct Call<'a> {
    node: &'a Node,
    options: &'a Options,
    /// The data directory as it was given.
    dir: PathBuf,
}

fn dispatch(call: &Call<'_>) -> u8 {
    match call.options.command.as_str() {
        "start" => start::start(call),
        "restart" => start::restart(call),
        "stop" => stop::stop(call),
        "status" => status::status(call),
        "query" => query::query(call),
        "failover" => failover::failover(call),
        "notify" => notify::notify(call),
        "build" => build::build(call),
        other => {
            raw(&format!("opengauss-sim: gs_ctl {other} is not simulated\n"));
            FAILED
        }
    }
}

impl Call<'_> {
    /// The first line of every command. Some have a blank before the comma, some do not.
    fn begin(&self, title: &str) {
        log(&format!("{title},datadir is {} \n", self.dir.display()));
    }

    fn shown(&self) -> String {
        self.dir.display().to_string()
    }

    /// Only one command that changes something may run at a time.
    fn lock(&self, command: &str) -> Option<Flock<File>> {
        let file = File::create(self.node.data_dir().join("pg_ctl.lock")).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok();
        if lock.is_none() {
            log(&format!("Another gs_ctl command is still running,{command} failed !\n"));
        }
        lock
    }

    /// Waits for the tools' second, and prints its dot.
    fn dot(&self) {
        std::thread::sleep(self.node.faults().tick());
        raw(".");
    }

    fn no_pid_file(&self, end: &str) -> u8 {
        log(&format!(" PID file \"{}/postmaster.pid\" does not exist{end}\n", self.shown()));
        log("Is server running?\n");
        FAILED
    }
}
