//! One test in a process of its own, to its end or to the end of its time.

use std::{
    fs::{self, File},
    os::unix::{fs::FileExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        prctl,
        signal::{Signal, killpg},
    },
    unistd::Pid,
};

use super::tally::{self, Tally};

/// A test that is to be run.
#[derive(Debug)]
pub struct Case {
    /// The program it is in.
    pub program: String,
    /// Its name; `None` if the command runs however many.
    pub test: Option<String>,
    /// How it is run.
    pub command: Command,
    /// When it is taken for hung.
    pub limit: Duration,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// The program it is in.
    pub program: String,
    /// For people: program and name.
    pub name: String,
    /// What ran.
    pub tally: Tally,
    /// What a person has to know beside the output.
    pub complaint: Option<String>,
    /// What it wrote.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

impl Case {
    /// For people.
    pub fn name(&self) -> String {
        match &self.test {
            Some(test) => format!("{}::{test}", self.program),
            None => self.program.clone(),
        }
    }

    /// How it is reported that it did not go as it should, and why.
    pub fn unrun(self, tally: Tally, why: &str) -> Outcome {
        Outcome {
            name: self.name(),
            program: self.program,
            tally,
            complaint: Some(why.to_owned()),
            output: String::new(),
            took: Duration::ZERO,
        }
    }

    /// Starts it, with `directory` for its temporary files, which is removed when it has ended. It is
    /// killed when the thread that called this ends.
    pub fn start(self, directory: Result<PathBuf>) -> Running {
        let begun = Instant::now();
        let started = directory.and_then(|directory| {
            let spawned = self.spawn(&directory);
            if spawned.is_err() {
                let _ = fs::remove_dir_all(&directory);
            }
            let (child, output) = spawned?;
            Ok(Process { child, output, directory })
        });
        Running { case: self, begun, started }
    }

    fn spawn(&self, directory: &Path) -> Result<(Child, File)> {
        // A file and no pipe: a daemon that the test left behind holds nobody up.
        let output = File::options()
            .read(true)
            .append(true)
            .create_new(true)
            .open(directory.join("output"))
            .context("cannot make a file for the output")?;
        let mut command = super::again(&self.command);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        command.env("TMPDIR", directory).process_group(0);
        let die_with_us = || Ok(prctl::set_pdeathsig(Signal::SIGKILL)?);
        // SAFETY: between fork and exec it makes one system call, which neither allocates nor takes
        // a lock.
        unsafe { command.pre_exec(die_with_us) };
        Ok((command.spawn().context("cannot run it")?, output))
    }
}

#[derive(Debug)]
struct Process {
    child: Child,
    output: File,
    directory: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A test that runs.
#[derive(Debug)]
pub struct Running {
    case: Case,
    begun: Instant,
    started: Result<Process>,
}

impl Running {
    /// How it went, if it has ended; it is killed if its time is over.
    pub fn poll(&mut self) -> Option<Outcome> {
        let ended = match &mut self.started {
            Ok(process) => process.child.try_wait(),
            Err(error) => {
                let why = format!("{error:#}");
                return Some(self.failed(&why));
            }
        };
        match ended {
            Ok(Some(status)) => {
                let output = self.output();
                let (tally, complaint) = judge(&output, status, self.case.test.is_some());
                Some(Outcome { tally, complaint, output, ..self.failed("") })
            }
            Ok(None) if self.begun.elapsed() >= self.case.limit => {
                let limit = self.case.limit.as_secs();
                Some(self.kill(&format!("still running after {limit} s: killed")))
            }
            Ok(None) => None,
            Err(error) => Some(self.kill(&format!("cannot wait for it: {error}"))),
        }
    }

    /// Kills it; `why` is what is told.
    pub fn kill(&mut self, why: &str) -> Outcome {
        if let Ok(process) = &mut self.started {
            // It leads a process group, which is there at least until it is waited for.
            let _ = killpg(Pid::from_raw(process.child.id() as i32), Signal::SIGKILL);
            let _ = process.child.wait();
        }
        Outcome { output: self.output(), ..self.failed(why) }
    }

    fn failed(&self, why: &str) -> Outcome {
        Outcome {
            program: self.case.program.clone(),
            name: self.case.name(),
            tally: Tally { failed: 1, ..Tally::default() },
            complaint: Some(why.to_owned()),
            output: String::new(),
            took: self.begun.elapsed(),
        }
    }

    fn output(&self) -> String {
        let Ok(Process { output: file, .. }) = &self.started else { return String::new() };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("its output cannot be read: {error}"),
        }
    }
}

/// A program that ends well without the result of its test has not run it.
fn judge(output: &str, status: ExitStatus, single: bool) -> (Tally, Option<String>) {
    let results: Vec<_> = output.lines().filter_map(tally::result).collect();
    let mut tally = Tally::default();
    results.iter().for_each(|result| tally += *result);
    let odd = results.is_empty()
        || (!status.success() && tally.failed == 0)
        || (single && tally.passed + tally.failed != 1);
    if odd {
        let failed = Tally { failed: 1.max(tally.failed), ..Tally::default() };
        return (failed, Some(format!("ended ({status}) without its result")));
    }
    (tally, None)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const PASSED: &str = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured'";

    fn start(script: &str, limit: Duration) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Case { program: "shell".into(), test: Some("a".into()), command, limit }.start(directory())
    }

    fn directory() -> Result<PathBuf> {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let (pid, counter) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("xtask-case-{pid}-{counter}"));
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    fn run(script: &str, limit: Duration) -> Outcome {
        let mut running = start(script, limit);
        loop {
            if let Some(outcome) = running.poll() {
                return outcome;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_test_that_passes_has_passed() {
        let outcome = run(PASSED, LONG);
        assert_eq!(outcome.tally, Tally { passed: 1, ..Tally::default() });
        assert_eq!((outcome.complaint, outcome.name.as_str()), (None, "shell::a"));
    }

    #[test]
    fn a_program_that_says_nothing_dies_or_runs_nothing_has_failed() {
        let nothing = "echo 'test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured'";
        let dies = format!("{PASSED}; exit 3");
        for script in ["exit 0", "kill -SEGV $$", nothing, &dies] {
            let outcome = run(script, LONG);
            assert_eq!(outcome.tally, Tally { failed: 1, ..Tally::default() }, "{script}");
            assert!(outcome.complaint.unwrap().contains("without its result"), "{script}");
        }
    }

    #[test]
    fn what_a_failed_test_said_is_kept() {
        let script = "echo 'panicked here' >&2; \
                      echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured'; exit 101";
        let outcome = run(script, LONG);
        assert_eq!(outcome.tally, Tally { failed: 1, ..Tally::default() });
        assert_eq!(outcome.complaint, None);
        assert!(outcome.output.contains("panicked here"), "{}", outcome.output);
    }

    #[test]
    fn a_hung_test_is_killed_with_its_group_and_what_it_said_is_kept() {
        let outcome = run("echo $$ begun; sleep 600 & wait", Duration::from_secs(1));
        assert!(outcome.took < LONG, "{outcome:?}");
        assert_eq!(outcome.tally, Tally { failed: 1, ..Tally::default() });
        assert_eq!(outcome.complaint.unwrap(), "still running after 1 s: killed");
        let (group, _) = outcome.output.split_once(" begun").unwrap();
        let end = Instant::now() + LONG;
        // The child is init's by now, and gone when that has waited for it.
        while killpg(Pid::from_raw(group.parse().unwrap()), None).is_ok() {
            assert!(Instant::now() < end, "its child lives");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_daemon_that_holds_the_output_open_holds_nobody_up() {
        let outcome = run(&format!("sleep 50 & {PASSED}"), LONG);
        assert!(outcome.took < Duration::from_secs(45), "{outcome:?}");
        assert_eq!(outcome.tally.passed, 1);
    }

    #[test]
    fn its_temporary_files_go_with_it() {
        let outcome = run(&format!("echo in $TMPDIR.; touch $TMPDIR/file; {PASSED}"), LONG);
        let directory = outcome.output.split_once("in ").unwrap().1.split_once(".\n").unwrap().0;
        assert!(directory.contains("xtask-case-") && !Path::new(directory).exists(), "{outcome:?}");
    }

    #[test]
    fn a_program_that_is_not_there_has_failed() {
        let command = Command::new(Path::new("/no/such/program"));
        let case = Case { program: "none".into(), test: None, command, limit: LONG };
        let outcome = case.start(directory()).poll().unwrap();
        assert_eq!(outcome.tally, Tally { failed: 1, ..Tally::default() });
        assert!(outcome.complaint.unwrap().contains("cannot run it"));
    }

    /// A run that is killed leaves no test behind.
    #[test]
    fn tests_die_with_who_runs_them() {
        let running = thread::spawn(|| start("exec sleep 600", LONG)).join().unwrap();
        assert!(!running.started.unwrap().child.wait().unwrap().success());
    }

    #[test]
    fn a_program_of_many_tests_is_summed() {
        let two = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n".repeat(2);
        let (tally, complaint) = judge(&two, ExitStatus::default(), false);
        assert_eq!((tally, complaint), (Tally { passed: 4, failed: 0, skipped: 2 }, None));
    }
}
