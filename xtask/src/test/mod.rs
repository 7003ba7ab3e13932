//! `test`: builds everything, runs every test, says at the end what ran.
//!
//! Cargo builds, but each test is run from here in a process of its own, several at a time, with a
//! time limit: one that hangs is killed and named. Runs may overlap, in one checkout or in two: cargo
//! locks the build, and each lab has names of its own. What a killed run has left is removed by the
//! next lab.

mod case;
mod program;
mod queue;
mod report;
mod scratch;
mod tally;

use std::{
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use self::{
    case::{Case, Outcome, Running},
    program::Program,
    queue::{Class, Places, Queue},
    report::Report,
    scratch::Scratch,
    tally::Tally,
};
use crate::{
    build, cargo, root,
    setup::{self, Scope},
};

/// Tells the lab where the agent is.
pub const AGENT_VARIABLE: &str = "OGHA_AGENT";
/// Scenarios at a time: each waits more than it computes.
pub const JOBS: usize = 4;

/// How many runs are simulated, where that is not the simulation's own choice.
const RUNS_VARIABLE: &str = "OGHA_RUNS";
/// How many of them `--all` means.
const ALL_RUNS: u64 = 1_000_000;
/// So many a second are simulated at least.
const RUNS_A_SECOND: u64 = 150;

/// When all of it has to be over, so that a run that goes wrong ends within the patience of who
/// waits for it; with the slow tests, that is longer.
const TOTAL_LIMIT: Duration = Duration::from_secs(26 * 60);
const ALL_LIMIT: Duration = Duration::from_secs(60 * 60);

/// How often the tests that run are looked at.
const TICK: Duration = Duration::from_millis(5);
/// What a run that is out of time names of the tests that never ran.
const NAMED: usize = 20;

/// Which tests, and how.
#[derive(Debug)]
pub struct Options {
    /// Only those whose name contains this.
    pub name: Option<String>,
    /// Also the slow ones, and the long simulation.
    pub all: bool,
    /// Scenarios at a time.
    pub jobs: usize,
    /// How many runs are simulated.
    pub runs: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: None, all: false, jobs: JOBS, runs: None }
    }
}

impl Options {
    /// How many runs are simulated; `None` if the simulation chooses.
    fn runs(&self) -> Option<u64> {
        self.runs.or(self.all.then_some(ALL_RUNS))
    }

    /// How much longer than usual the simulation may take.
    fn longer(&self) -> Duration {
        Duration::from_secs(self.runs().unwrap_or(0) / RUNS_A_SECOND)
    }

    /// When all has to be over.
    fn limit(&self) -> Duration {
        self.longer() + if self.all { ALL_LIMIT } else { TOTAL_LIMIT }
    }

    /// When a test of that class is taken for hung. A machine that is busy with other things gets
    /// minutes for what takes seconds.
    fn limit_of(&self, class: Class) -> Duration {
        match class {
            Class::Unit => Duration::from_secs(3 * 60),
            Class::Scenario | Class::Alone => Duration::from_secs(5 * 60),
            // Beside all others it may hardly get a processor before they have ended.
            Class::Heavy => self.longer() + TOTAL_LIMIT,
        }
    }

    fn places(&self) -> Places {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Places { units: processors, scenarios: self.jobs.max(1) }
    }
}

/// Builds and runs them.
pub fn command(options: &Options) -> Result<ExitCode> {
    setup::ensure(Scope::All)?;
    // With the tests cargo builds the programs that they run: a build of its own for these would
    // compile half of all dependencies once more, for they have other features without tests.
    let built = cargo::executables(cargo::cargo().args(["test", "--no-run"]))?;
    let agent = build::program(&built, "ogha-agent")?;
    let begun = Instant::now();
    let mut report = Report::default();
    let mut queue = Queue::new(options.places());
    queue.push(Class::Unit, doc_tests(options));
    for executable in built.iter().filter(|executable| executable.harness) {
        enqueue(&Program::new(executable, &agent), options, &mut queue, &mut report)?;
    }
    let scratch = Scratch::new(&std::env::temp_dir())?;
    run(&mut queue, &scratch, begun + options.limit(), &mut report);
    drop(scratch);
    Ok(report.close(options.name.as_deref(), begun.elapsed()))
}

/// The tests of a program: they wait, or are left out and counted.
fn enqueue(
    program: &Program,
    options: &Options,
    queue: &mut Queue<Case>,
    report: &mut Report,
) -> Result<()> {
    let mut names = program.names(options.name.as_deref())?;
    if options.all {
        names.usual.append(&mut names.slow);
    }
    report.slow += names.slow.len();
    for test in names.usual {
        let mut command = program.command(&test);
        if let (Class::Heavy, Some(runs)) = (program.class, options.runs()) {
            command.env(RUNS_VARIABLE, runs.to_string());
        }
        let limit = options.limit_of(program.class);
        let case = Case { program: program.name.clone(), test: Some(test), command, limit };
        if program.class.needs_root() && !root::is_root() {
            let skipped = Tally { skipped: 1, ..Tally::default() };
            report.add(&case.unrun(skipped, "needs root"));
        } else {
            queue.push(program.class, case);
        }
    }
    Ok(())
}

fn doc_tests(options: &Options) -> Case {
    let mut command = cargo::cargo();
    command.args(["test", "--quiet", "--doc", "--"]).args(&options.name);
    // It builds.
    let limit = Duration::from_secs(10 * 60);
    Case { program: "examples in the documentation".into(), test: None, command, limit }
}

/// Runs all that wait. What has not ended by `end` is killed, what has not begun fails.
fn run(queue: &mut Queue<Case>, scratch: &Scratch, end: Instant, report: &mut Report) {
    let mut running: Vec<(Class, Running)> = Vec::new();
    let mut count = 0;
    loop {
        if Instant::now() >= end {
            let why = "the time for all tests is over";
            running.iter_mut().for_each(|(_, test)| report.add(&test.kill(why)));
            unrun(queue.drain().collect(), report);
            return;
        }
        while let Some((class, case)) = queue.next() {
            running.push((class, case.start(scratch.directory(count))));
            count += 1;
        }
        if running.is_empty() {
            return;
        }
        thread::sleep(TICK);
        running.retain_mut(|(class, test)| {
            let outcome: Option<Outcome> = test.poll();
            if let Some(outcome) = &outcome {
                report.add(outcome);
                queue.ended(*class);
            }
            outcome.is_none()
        });
    }
}

/// Those that never ran, in one line: they are many.
fn unrun(mut cases: Vec<Case>, report: &mut Report) {
    let names: Vec<_> = cases.iter().take(NAMED).map(Case::name).collect();
    let why = format!("{} tests did not run, among them {}", cases.len(), names.join(", "));
    let tally = Tally { failed: cases.len(), ..Tally::default() };
    if let Some(first) = cases.pop() {
        let rest = Case { program: "out of time".into(), test: None, ..first };
        report.add(&rest.unrun(tally, &why));
    }
}

/// The same command once more; a `Command` cannot be cloned.
fn again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        again.current_dir(folder);
    }
    again
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PASSED: &str = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured'";

    fn queue(cases: &[(Class, &str)]) -> Queue<Case> {
        let mut queue = Queue::new(Places { units: 2, scenarios: 4 });
        for (at, (class, script)) in cases.iter().enumerate() {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let (program, limit) = ("shell".to_owned(), Duration::from_secs(60));
            queue.push(*class, Case { program, test: Some(format!("t{at}")), command, limit });
        }
        queue
    }

    fn summed(queue: &mut Queue<Case>, within: Duration) -> (String, String) {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let (pid, counter) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let base = std::env::temp_dir().join(format!("xtask-run-{pid}-{counter}"));
        std::fs::create_dir_all(&base).unwrap();
        let mut report = Report::default();
        run(queue, &Scratch::new(&base).unwrap(), Instant::now() + within, &mut report);
        std::fs::remove_dir(base).expect("nothing is left");
        (report.text(None, Duration::ZERO), report.line())
    }

    #[test]
    fn scenarios_run_beside_each_other() {
        // Each waits until all four have begun.
        let folder = std::env::temp_dir().join(format!("xtask-beside-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let meet = format!(
            "cd {}; touch $$; while [ $(ls | wc -l) -lt 4 ]; do sleep 0.02; done; {PASSED}",
            folder.display()
        );
        let cases = [(Class::Scenario, meet.as_str()); 4];
        let (text, line) = summed(&mut queue(&cases), Duration::from_secs(50));
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(line, "4 passed, 0 failed, 0 skipped", "{text}");
    }

    #[test]
    fn a_run_that_is_out_of_time_kills_what_runs_and_names_what_never_ran() {
        let cases = [(Class::Alone, "exec sleep 600"), (Class::Alone, PASSED)];
        let (text, line) = summed(&mut queue(&cases), Duration::from_millis(300));
        assert_eq!(line, "0 passed, 2 failed, 0 skipped");
        assert!(text.contains("shell::t0: the time for all tests is over"), "{text}");
        assert!(text.contains("1 tests did not run, among them shell::t1"), "{text}");
    }

    #[test]
    fn all_means_a_long_simulation_unless_another_is_asked_for() {
        let all = Options { all: true, ..Options::default() };
        assert_eq!(all.runs(), Some(ALL_RUNS));
        assert!(all.limit() > Duration::from_secs(ALL_RUNS / RUNS_A_SECOND));
        assert!(all.limit_of(Class::Heavy) < all.limit());
        assert_eq!(Options { runs: Some(5), ..all }.runs(), Some(5));
        assert_eq!(Options::default().runs(), None);
    }

    #[test]
    fn a_command_is_the_same_once_more() {
        let mut command = Command::new("sh");
        command.arg("-c").env("A", "1").env_remove("B").current_dir("/");
        assert_eq!(format!("{:?}", again(&command)), format!("{command:?}"));
    }
}
