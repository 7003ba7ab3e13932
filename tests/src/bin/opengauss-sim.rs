//! openGauss's tools, simulated: `opengauss-sim gs_ctl ..`, or by the name of a link.
//!
//! Which node it serves stands in a file in the directory of the program as it was called, or in the
//! one that `OPENGAUSS_SIM` names.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use ogha_tests::opengauss::{Node, control_data, gs_ctl, gs_guc, gs_om, gsql, watch};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("opengauss-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u8> {
    let mut arguments = env::args();
    let called = PathBuf::from(arguments.next().context("this program has no name")?);
    let mut arguments: Vec<_> = arguments.collect();
    let mut name = called.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name == "opengauss-sim" && !arguments.is_empty() {
        name = arguments.remove(0);
    }
    let node = Node::read(&directory(&called)?)?;
    match name.as_str() {
        "gs_ctl" => Ok(gs_ctl::run(&node, &arguments)),
        "gs_guc" => Ok(gs_guc::run(&node, &arguments)),
        "pg_controldata" => Ok(control_data(&node, &arguments)),
        "gs_om" => Ok(gs_om::run(&node, &arguments)),
        "gsql" => Ok(gsql::run(&node, &arguments)),
        "watch" => watch::run(&node).map(|()| 0),
        other => anyhow::bail!("{other} is not simulated; there are gs_ctl, gs_om and gsql"),
    }
}

/// Where the program was called, found through `PATH` if it was called by its bare name.
fn directory(called: &Path) -> Result<PathBuf> {
    if let Some(dir) = env::var_os("OPENGAUSS_SIM") {
        return Ok(dir.into());
    }
    if let Some(dir) = called.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        return Ok(dir.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).find(|dir| dir.join(called).is_file());
    found.context("the directory of the tools is not known; OPENGAUSS_SIM names it")
}
