//! What is said at the end.

use std::process::ExitCode;

use super::{suite::Outcome, tally::Tally};

/// All suites, in the order in which they ran.
#[derive(Debug, Default)]
pub struct Report {
    suites: Vec<(String, Outcome)>,
}

impl Report {
    /// One more suite has ended. Those from which a filter took everything are left out.
    pub fn add(&mut self, name: &str, outcome: Outcome) {
        if !outcome.tally.is_empty() {
            self.suites.push((name.to_owned(), outcome));
        }
    }

    /// Prints a line a suite, then the complaints, then the sum. Failure if anything failed, if
    /// anything was skipped, or if nothing ran at all.
    pub fn close(&self, name: Option<&str>) -> ExitCode {
        println!("\n  passed  failed skipped  seconds");
        for (suite, Outcome { tally, took, .. }) in &self.suites {
            let Tally { passed, failed, skipped } = tally;
            let seconds = took.as_secs_f64();
            println!("{passed:>8}{failed:>8}{skipped:>8}{seconds:>9.1}  {suite}");
        }
        for (suite, outcome) in &self.suites {
            if let Some(complaint) = &outcome.complaint {
                println!("{suite}: {complaint}");
            }
        }
        if let (true, Some(name)) = (self.sum().is_empty(), name) {
            println!("no test's name contains `{name}`");
        }
        println!("{}", self.line());
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for (_, outcome) in &self.suites {
            sum += outcome.tally;
        }
        sum
    }

    fn line(&self) -> String {
        let Tally { passed, failed, skipped } = self.sum();
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    fn is_good(&self) -> bool {
        let sum = self.sum();
        sum.is_good() && !sum.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tallies: &[(usize, usize, usize)]) -> Report {
        let mut report = Report::default();
        for &(passed, failed, skipped) in tallies {
            let tally = Tally { passed, failed, skipped };
            report.add("some", Outcome { tally, ..Outcome::default() });
        }
        report
    }

    #[test]
    fn the_last_line_sums_everything() {
        let report = report(&[(5, 0, 0), (0, 0, 0), (2, 1, 3)]);
        assert_eq!(report.line(), "7 passed, 1 failed, 3 skipped");
        assert_eq!(report.suites.len(), 2, "an empty suite is not worth a line");
    }

    #[test]
    fn only_a_run_in_which_all_passed_is_good() {
        assert!(report(&[(1, 0, 0)]).is_good());
        for bad in [&[(1, 1, 0)][..], &[(1, 0, 1)], &[(0, 0, 0)], &[]] {
            assert!(!report(bad).is_good(), "{bad:?}");
        }
    }
}
