//! What a test program says of itself.

use std::ops::AddAssign;

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ran and passed.
    pub passed: usize,
    /// Ran and failed, or never ended.
    pub failed: usize,
    /// Did not run though it was not filtered out.
    pub skipped: usize,
}

impl Tally {
    /// Has nothing run, nor been meant to?
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Has all that was meant to run passed?
    pub fn is_good(self) -> bool {
        self.failed == 0 && self.skipped == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; ..`, also behind
/// what a test wrote without an end of line.
pub fn result(line: &str) -> Option<Tally> {
    let (_, counts) = line.split_once("test result: ")?.1.split_once(". ")?;
    let count = |word: &str| {
        let part = counts.split(';').find(|part| part.trim().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Tally {
        passed: count(" passed")?,
        failed: count(" failed")?,
        skipped: count(" ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_read() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; \
                    finished in 0.10s";
        assert_eq!(result(line), Some(Tally { passed: 5, failed: 2, skipped: 1 }));
        let behind = format!("a test's last words{line}");
        assert_eq!(result(&behind), result(line));
        for other in ["", "test result: ok.", "test a ... ok", "running 3 tests"] {
            assert_eq!(result(other), None, "{other}");
        }
    }
}
