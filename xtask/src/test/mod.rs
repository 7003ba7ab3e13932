//! `test`: builds everything, runs every test, says at the end what ran.
//!
//! Cargo builds, but the test programs are run from here, each with a time limit: a hung one is
//! killed, and the tests that never ended are named. Runs may overlap, in one checkout or in two:
//! cargo locks the build, and each lab has names of its own.

mod report;
mod suite;
mod tally;

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::Result;

use self::{report::Report, suite::Suite};
use crate::{
    build, cargo, root,
    setup::{self, Scope},
};

/// Tells the lab where the agent is.
pub const AGENT_VARIABLE: &str = "OGHA_AGENT";
/// Scenarios at a time: they measure, and they share the processors.
pub const JOBS: usize = 2;

/// Unit tests take seconds; a machine that is busy with other things gets minutes.
const UNIT_LIMIT: Duration = Duration::from_secs(5 * 60);
/// All scenarios of one file, on two processors, beside another run.
const SCENARIO_LIMIT: Duration = Duration::from_secs(20 * 60);
/// All of it, so that a run that goes wrong ends within the patience of who waits for it.
const TOTAL_LIMIT: Duration = Duration::from_secs(30 * 60);
/// The folder of the lab and its scenarios.
const LAB: &str = "tests";
/// What of it needs neither the lab nor root: clusters in virtual time.
const ROOTLESS: [&str; 2] = ["simulation", "model"];

/// How many stories the simulation tells, where that is not its own choice.
const STORIES_VARIABLE: &str = "OGHA_STORIES";
/// So many a second it tells at least.
const STORIES_A_SECOND: u64 = 200;

/// Runs the tests whose name contains `name`, or all of them; the simulation tells so many stories.
pub fn command(name: Option<&str>, jobs: usize, stories: Option<u64>) -> Result<ExitCode> {
    setup::ensure(Scope::All)?;
    let agent = build::program(&build::everything()?, "ogha-agent")?;
    let harnesses = cargo::executables(cargo::cargo().args(["test", "--no-run"]))?;
    let mut suites: Vec<_> = harnesses
        .into_iter()
        .filter(|executable| executable.harness)
        .map(|executable| suite(&executable, &agent, name, jobs))
        .collect();
    let longer = Duration::from_secs(stories.unwrap_or(0) / STORIES_A_SECOND);
    if let Some(stories) = stories {
        for suite in &mut suites {
            suite.command.env(STORIES_VARIABLE, stories.to_string());
            suite.limit += longer;
        }
    }
    suites.push(doc_tests(name));
    suites.sort_by_key(|suite| (suite.needs_root, suite.name.clone()));

    let end = Instant::now() + TOTAL_LIMIT + longer;
    let mut report = Report::default();
    for mut suite in suites {
        suite.limit = suite.limit.min(end.saturating_duration_since(Instant::now()));
        let outcome = if suite.needs_root && !root::is_root() { suite.skip() } else { suite.run() };
        report.add(&suite.name, outcome);
    }
    Ok(report.close(name))
}

fn suite(
    executable: &cargo::Executable,
    agent: &std::path::Path,
    name: Option<&str>,
    jobs: usize,
) -> Suite {
    let package = executable.package();
    let needs_root = package == LAB && !ROOTLESS.contains(&executable.target.as_str());
    let mut command = Command::new(&executable.path);
    command.current_dir(&executable.package_dir);
    command.env("CARGO_MANIFEST_DIR", &executable.package_dir).env(AGENT_VARIABLE, agent);
    if needs_root {
        command.arg(format!("--test-threads={}", jobs.max(1)));
    }
    command.args(name);
    Suite {
        name: format!("{package}, {} {}", executable.kind, executable.target),
        command,
        needs_root,
        limit: if package == LAB { SCENARIO_LIMIT } else { UNIT_LIMIT },
    }
}

fn doc_tests(name: Option<&str>) -> Suite {
    let mut command = cargo::cargo();
    command.args(["test", "--quiet", "--doc", "--"]).args(name);
    Suite {
        name: "examples in the documentation".into(),
        command,
        needs_root: false,
        limit: UNIT_LIMIT,
    }
}
