//! Running one test program to its end, or to the end of its time.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::tally::{self, Tally};

/// How often the clock and the process are looked at.
const TICK: Duration = Duration::from_millis(100);
/// What a program wrote before its end may arrive after it.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A program full of tests.
pub struct Suite {
    /// For people.
    pub name: String,
    /// How it is run.
    pub command: Command,
    /// Its tests make hosts out of network namespaces.
    pub needs_root: bool,
    /// When it is taken for hung.
    pub limit: Duration,
}

/// How a suite went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many tests.
    pub tally: Tally,
    /// What a person has to know beside the program's own output.
    pub complaint: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What is known of a program while it runs.
#[derive(Debug, Default)]
struct Progress {
    ended: BTreeSet<String>,
    tally: Tally,
    results: usize,
}

impl Progress {
    fn hear(&mut self, line: &str) {
        if let Some(name) = tally::ended(line) {
            self.ended.insert(name.to_owned());
        } else if let Some(counts) = tally::result(line) {
            self.tally += counts;
            self.results += 1;
        }
    }
}

/// The end of a program.
enum End {
    Exit(ExitStatus),
    Hung,
}

impl Suite {
    /// Runs it, its output as it comes.
    pub fn run(&self) -> Outcome {
        println!("\n-- {}", self.name);
        let start = Instant::now();
        let mut outcome = self.watch(start).unwrap_or_else(|error| Outcome {
            tally: Tally { failed: 1, ..Tally::default() },
            complaint: Some(format!("{error:#}")),
            ..Outcome::default()
        });
        outcome.took = start.elapsed();
        outcome
    }

    /// Counts the tests without running them.
    pub fn skip(&self) -> Outcome {
        let skipped = self.names().len();
        let why = || format!("{skipped} tests need root and did not run");
        Outcome {
            tally: Tally { skipped, ..Tally::default() },
            complaint: (skipped > 0).then(why),
            ..Outcome::default()
        }
    }

    fn watch(&self, start: Instant) -> Result<Outcome> {
        let mut command = self.again();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run it")?;
        let lines = lines(child.stdout.take().context("its output is not piped")?);
        let mut progress = Progress::default();
        Ok(match listen(&mut child, &lines, start + self.limit, &mut progress)? {
            End::Exit(status) => conclude(progress, status),
            End::Hung => self.hung(&progress),
        })
    }

    fn hung(&self, progress: &Progress) -> Outcome {
        let names = self.names();
        let mut left: Vec<_> = names.iter().filter(|n| !progress.ended.contains(*n)).collect();
        left.truncate(20);
        let complaint = format!(
            "still running after {} s: killed; {} tests had ended, these had not: {left:?}",
            self.limit.as_secs(),
            progress.ended.len(),
        );
        let passed = progress.ended.len();
        let failed = names.len().saturating_sub(passed).max(1);
        Outcome {
            tally: Tally { passed, failed, skipped: 0 },
            complaint: Some(complaint),
            ..Outcome::default()
        }
    }

    /// The names of its tests.
    fn names(&self) -> Vec<String> {
        let list = self.again().args(["--list", "--format=terse"]).stderr(Stdio::null()).output();
        let list = list.map(|output| output.stdout).unwrap_or_default();
        let list = String::from_utf8_lossy(&list).into_owned();
        list.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect()
    }

    /// The same command once more; a `Command` cannot be cloned.
    fn again(&self) -> Command {
        let mut again = Command::new(self.command.get_program());
        again.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => again.env(name, value),
                None => again.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            again.current_dir(folder);
        }
        again
    }
}

/// The output line by line. The thread ends with the pipe, which a daemon that a test left
/// behind may hold open: nobody waits for it.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn listen(
    child: &mut Child,
    lines: &Receiver<String>,
    limit: Instant,
    progress: &mut Progress,
) -> Result<End> {
    let mut exit = None;
    loop {
        let heard = lines.recv_timeout(TICK);
        match &heard {
            Ok(line) => {
                println!("{line}");
                progress.hear(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
        if exit.is_none() {
            exit = child.try_wait().context("cannot wait for it")?.map(|s| (s, Instant::now()));
        }
        match exit {
            Some((status, when)) if heard.is_err() && when.elapsed() >= LAST_WORDS => {
                return Ok(End::Exit(status));
            }
            None if Instant::now() >= limit => {
                child.kill().context("it hangs, and cannot be killed")?;
                child.wait().context("cannot wait for it")?;
                return Ok(End::Hung);
            }
            _ => {}
        }
    }
}

/// A program that ends well without saying how its tests went has not run them.
fn conclude(progress: Progress, status: ExitStatus) -> Outcome {
    let Progress { mut tally, results, .. } = progress;
    let odd = results == 0 || (!status.success() && tally.failed == 0);
    if odd {
        tally.failed += 1;
    }
    let complaint = odd.then(|| format!("ended ({status}) without the results of all its tests"));
    Outcome { tally, complaint, ..Outcome::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test program made of shell; with `--list` it names the tests `a`, `b` and `c`.
    fn suite(script: &str, limit: Duration) -> Suite {
        let list =
            "if [ \"$0\" = --list ]; then printf 'a: test\\nb: test\\nc: test\\n'; exit; fi;";
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{list} {script}")]);
        Suite { name: "shell".into(), command, needs_root: false, limit }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_results_of_a_program_are_its_own_words() {
        let one = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered'";
        let outcome = suite(&format!("{one}; {one}"), LONG).run();
        assert_eq!(outcome.tally, Tally { passed: 4, failed: 0, skipped: 2 });
        assert_eq!(outcome.complaint, None);
    }

    #[test]
    fn a_program_that_says_nothing_or_dies_has_failed() {
        for script in ["exit 0", "kill -SEGV $$"] {
            let outcome = suite(script, LONG).run();
            assert_eq!(outcome.tally, Tally { failed: 1, ..Tally::default() }, "{script}");
            assert!(outcome.complaint.unwrap().contains("without the results"));
        }
    }

    #[test]
    fn a_hung_program_is_killed_and_what_hung_is_named() {
        let script = "echo 'test a ... ok'; exec sleep 600";
        let outcome = suite(script, Duration::from_millis(300)).run();
        assert!(outcome.took < LONG, "{outcome:?}");
        assert_eq!(outcome.tally, Tally { passed: 1, failed: 2, skipped: 0 });
        let complaint = outcome.complaint.unwrap();
        assert!(complaint.contains(r#"these had not: ["b", "c"]"#), "{complaint}");
    }

    #[test]
    fn a_daemon_that_holds_the_output_open_holds_nobody_up() {
        let one = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured'";
        let outcome = suite(&format!("sleep 30 & {one}"), LONG).run();
        assert!(outcome.took < Duration::from_secs(25), "{outcome:?}");
        assert_eq!(outcome.tally.passed, 1);
    }

    #[test]
    fn what_is_skipped_is_counted() {
        let outcome = suite("exit 1", LONG).skip();
        assert_eq!(outcome.tally, Tally { skipped: 3, ..Tally::default() });
    }
}
