//! Problems of a file, for people: `FILE:LINE: key: what is wrong; what to do`.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1; `None` where the problem is not in the text.
    pub line: Option<usize>,
    /// The full dotted path of the key; empty where the problem has none.
    pub key: String,
    /// What is wrong; what to do.
    pub what: String,
}

/// All problems of a file: at least one, in the order of their lines. Shown one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl Errors {
    /// Takes problems, sorted by the caller.
    pub(crate) fn new(file: &Path, problems: Vec<Problem>) -> Self {
        Self { file: file.to_owned(), problems }
    }

    pub(super) fn one(file: &Path, line: Option<usize>, key: &str, what: &str) -> Self {
        Self::new(file, vec![Problem { line, key: key.to_owned(), what: what.to_owned() }])
    }

    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        let what = format!("cannot read the configuration: {error}; name it with --config FILE");
        Self::one(file, None, "", &what)
    }

    /// The problems.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            if !problem.key.is_empty() {
                write!(f, ": {}", problem.key)?;
            }
            write!(f, ": {}", problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
