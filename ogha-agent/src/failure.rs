//! An error that carries the exit code.

use std::{io::Write as _, process::ExitCode};

use crate::{config::Errors, logging};

/// Why a subcommand did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Failure {
    /// The exit code: 1 refused or failed, 2 the operator must put something right first.
    pub code: u8,
    /// What happened, where, what to do.
    pub error: anyhow::Error,
}

impl Failure {
    /// Refused, or failed.
    #[must_use]
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: error.into() }
    }

    /// Something that must be put right before it can work: the usage, or what is needed of the
    /// host (an interface, a port, privileges).
    #[must_use]
    pub fn start_up(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, error: error.into() }
    }

    /// Tells it on standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // Each problem of a configuration begins with its file, as editors want it.
        let prefix = if self.error.is::<Errors>() { "" } else { "ogha-agent: " };
        let text = format!("{prefix}{self}\n");
        if !logging::last_words(&text) {
            // If standard error is closed, the exit code remains.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        ExitCode::from(self.code)
    }
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self::start_up(errors)
    }
}

/// An error of a function that may have failed either way: it is one if it says so, anywhere in
/// its chain.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let code = error.downcast_ref::<Self>().map_or(1, |failure| failure.code);
        Self { code, error }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn the_code_survives_what_is_said_around_it() {
        let start_up = Failure::start_up(anyhow!("no BTF").context("cannot load"));
        let told: anyhow::Error =
            anyhow::Result::<()>::Err(start_up.into()).context("instance VI_1").unwrap_err();
        let failure = Failure::from(told);
        assert_eq!(failure.code, 2);
        assert_eq!(failure.to_string(), "instance VI_1: cannot load: no BTF");
        assert_eq!(Failure::from(anyhow!("broken")).code, 1);
    }
}
