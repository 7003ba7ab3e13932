//! What is said while the tests run, and at the end.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode, time::Duration};

use super::{case::Outcome, tally::Tally};

/// How many of the slowest tests are named.
const SLOWEST: usize = 10;
/// So much of a failed test's output is shown: its end.
const LINES: usize = 400;

/// All tests that have ended.
#[derive(Debug, Default)]
pub struct Report {
    /// By program: what became of its tests, and how long they took together.
    programs: BTreeMap<String, (Tally, Duration)>,
    /// Name and time of each.
    times: Vec<(Duration, String)>,
    /// Those that failed or were skipped, with what is to be said of them.
    complaints: Vec<String>,
    /// How many the mark `slow` has kept out.
    pub slow: usize,
}

impl Report {
    /// One more has ended: prints a line, and what it said if it failed. A program that had nothing
    /// to run is left out.
    pub fn add(&mut self, outcome: &Outcome) {
        let Outcome { program, name, tally, complaint, output, took } = outcome;
        if tally.is_empty() {
            return;
        }
        let how = match (tally.failed, tally.skipped) {
            (0, 0) => "ok",
            (0, _) => "skipped",
            _ => "FAILED",
        };
        if tally.failed > 0 {
            println!("\n---- {name} said\n{}\n----", end_of(output));
        }
        let why = complaint.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        println!("{how:<7}{:>8.2} s  {name}{why}", took.as_secs_f64());
        let known = self.programs.entry(program.clone()).or_default();
        known.0 += *tally;
        known.1 += *took;
        self.times.push((*took, name.clone()));
        if !tally.is_good() {
            self.complaints.push(format!("{how} {name}{why}"));
        }
    }

    /// Prints the sums. Failure if anything failed, if anything was skipped, or if nothing ran.
    pub fn close(&self, name: Option<&str>, took: Duration) -> ExitCode {
        println!("\n{}", self.text(name, took));
        println!("{}", self.line());
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// What is said at the end, all but the last line.
    pub fn text(&self, name: Option<&str>, took: Duration) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "  passed  failed skipped  seconds");
        for (program, (Tally { passed, failed, skipped }, took)) in &self.programs {
            let seconds = took.as_secs_f64();
            let _ = writeln!(text, "{passed:>8}{failed:>8}{skipped:>8}{seconds:>9.1}  {program}");
        }
        let _ = writeln!(text, "\nthe slowest:");
        for (took, name) in self.slowest() {
            let _ = writeln!(text, "{:>8.1} s  {name}", took.as_secs_f64());
        }
        if !self.complaints.is_empty() {
            let _ = writeln!(text);
        }
        for complaint in &self.complaints {
            let _ = writeln!(text, "{complaint}");
        }
        let nothing = self.times.is_empty() && self.slow == 0;
        if let (true, Some(name)) = (nothing, name) {
            let _ = writeln!(text, "no test's name contains `{name}`");
        }
        if self.slow > 0 {
            let slow = self.slow;
            let _ = writeln!(text, "not among them: {slow} slow tests, which `--all` runs too");
        }
        let _ = write!(text, "{:.0} s in all", took.as_secs_f64());
        text
    }

    fn slowest(&self) -> Vec<&(Duration, String)> {
        let mut times: Vec<_> = self.times.iter().collect();
        times.sort_by(|a, b| b.cmp(a));
        times.truncate(SLOWEST);
        times
    }

    fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for (tally, _) in self.programs.values() {
            sum += *tally;
        }
        sum
    }

    /// The last line.
    pub fn line(&self) -> String {
        let Tally { passed, failed, skipped } = self.sum();
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    fn is_good(&self) -> bool {
        let sum = self.sum();
        sum.is_good() && !sum.is_empty()
    }
}

fn end_of(output: &str) -> String {
    let lines: Vec<_> = output.trim_end().lines().collect();
    let left_out = lines.len().saturating_sub(LINES);
    let end = lines[left_out..].join("\n");
    if left_out > 0 { format!("({left_out} lines more)\n{end}") } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tallies: &[(usize, usize, usize)]) -> Report {
        let mut report = Report::default();
        for (at, &(passed, failed, skipped)) in tallies.iter().enumerate() {
            report.add(&Outcome {
                program: "some".into(),
                name: format!("some::test{at}"),
                tally: Tally { passed, failed, skipped },
                complaint: (failed > 0).then(|| "it hangs".into()),
                output: String::new(),
                took: Duration::from_secs(at as u64),
            });
        }
        report
    }

    #[test]
    fn the_last_line_sums_everything() {
        let report = report(&[(5, 0, 0), (0, 0, 0), (2, 1, 3)]);
        assert_eq!(report.line(), "7 passed, 1 failed, 3 skipped");
        assert_eq!(report.times.len(), 2, "what has run nothing is not worth a line");
    }

    #[test]
    fn only_a_run_in_which_all_passed_is_good() {
        assert!(report(&[(1, 0, 0)]).is_good());
        for bad in [&[(1, 1, 0)][..], &[(1, 0, 1)], &[(0, 0, 0)], &[]] {
            assert!(!report(bad).is_good(), "{bad:?}");
        }
    }

    #[test]
    fn the_slowest_ten_are_named_and_what_failed_with_its_reason() {
        let mut tallies = vec![(1, 0, 0); 12];
        tallies[3] = (0, 1, 0);
        let mut report = report(&tallies);
        report.slow = 2;
        let text = report.text(None, Duration::from_secs(66));
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
        assert!(at("11.0 s  some::test11\n") < at("2.0 s  some::test2\n"));
        assert!(!text.contains(" some::test1\n"), "{text}");
        at("FAILED some::test3: it hangs\n");
        at("2 slow tests");
        assert!(text.ends_with("66 s in all"));
    }

    #[test]
    fn a_filter_that_takes_everything_is_told() {
        let text = report(&[]).text(Some("xyz"), Duration::ZERO);
        assert!(text.contains("no test's name contains `xyz`"), "{text}");
        let mut slow = report(&[]);
        slow.slow = 1;
        let text = slow.text(Some("xyz"), Duration::ZERO);
        assert!(!text.contains("no test's name") && text.contains("1 slow test"), "{text}");
    }

    #[test]
    fn long_output_is_shown_from_its_end() {
        let output: String = (0..LINES + 7).map(|line| format!("line {line}\n")).collect();
        let end = end_of(&output);
        assert!(end.starts_with("(7 lines more)\nline 7\n"));
        assert!(end.ends_with(&format!("line {}", LINES + 6)));
    }
}
