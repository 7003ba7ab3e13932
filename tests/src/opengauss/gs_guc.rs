//! `gs_guc reload` and `set`: parameters in `postgresql.conf`.
//!
//! `most_available_sync`, which PostgreSQL has not, is kept and shown and has no effect: beneath,
//! commits wait for whom `synchronous_standby_names` says.

use std::fs;

use anyhow::{Context as _, Result};
use nix::{sys::signal::Signal, unistd::geteuid};

use super::{
    node::Node,
    report::raw,
    server::{Recorded, send},
};

/// Runs a command line, without the program's name, and returns its exit code.
#[must_use]
pub fn run(node: &Node, arguments: &[String]) -> u8 {
    if geteuid().is_root() {
        raw("gs_guc: cannot be run as root\n");
        return 1;
    }
    let after = |option: &str| {
        let pairs = arguments.windows(2).filter(move |pair| pair[0] == option);
        pairs.map(|pair| pair[1].as_str()).collect::<Vec<_>>()
    };
    let reload = arguments.iter().any(|word| word == "reload");
    eprintln!("The gs_guc run with the following arguments: [gs_guc {} ].", arguments.join(" "));
    if !reload && !arguments.iter().any(|word| word == "set") {
        raw("opengauss-sim: only gs_guc reload and set are simulated\n");
        return 1;
    }
    match write(node, &after("-c"), reload) {
        Ok(()) => {
            raw("\nTotal instances: 1. Failed instances: 0.\nSuccess to perform gs_guc!\n\n");
            0
        }
        Err(error) => {
            raw(&format!(
                "{error:#}\n\nTotal instances: 1. Failed instances: 1.\nERROR: gs_guc failed\n"
            ));
            1
        }
    }
}

fn write(node: &Node, settings: &[&str], reload: bool) -> Result<()> {
    let path = node.data_dir().join("postgresql.conf");
    let mut text = fs::read_to_string(&path).context("postgresql.conf")?;
    raw(&format!("expected instance path: [{}]\n", path.display()));
    for setting in settings {
        let (name, value) = setting.split_once('=').context("a parameter needs a value")?;
        let name = match name.trim() {
            "most_available_sync" => "opengauss.most_available_sync",
            name => name,
        };
        let sets = |line: &&str| line.split(['=', ' ']).next() == Some(name);
        text = text.lines().filter(|line| !sets(line)).map(|line| format!("{line}\n")).collect();
        text.push_str(&format!("{name} = {value}\n"));
        raw(&format!("gs_guc reload: {setting}: [{}]\n", path.display()));
    }
    fs::write(&path, text).context("postgresql.conf")?;
    if reload && let Recorded::Alive(pid) = node.recorded() {
        send(pid, Signal::SIGHUP).context("the server cannot be signalled")?;
        raw("server signaled\n");
    }
    Ok(())
}
