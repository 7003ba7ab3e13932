//! Why `gs_om -t refreshconf` failed, in words that say what to do.
//!
//! It writes a file with the roles for `gs_om -t start` and copies it to every node, so it cannot
//! succeed while a node is down; and it refuses while there is not exactly one primary.

use std::fmt;

/// A failure of `gs_om`, known by its `[GAUSS-nnnnn]` codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 51230: there are no primaries, or two.
    PrimaryCount,
    /// 51400: a command on another node failed; the usual one while that node is down.
    Node(String),
    /// Anything else, in its own last words.
    Other(String),
}

impl Failure {
    /// Reads the command's output.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.contains("[GAUSS-51230]") {
            return Self::PrimaryCount;
        }
        let words = super::super::process::last_words(text);
        if text.contains("[GAUSS-51400]") { Self::Node(words) } else { Self::Other(words) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrimaryCount => f.write_str(
                "gs_om -t refreshconf did not see exactly one primary: either a failover is still \
                 under way, or there are two; check with gs_ctl query on both nodes",
            ),
            Self::Node(words) => write!(
                f,
                "gs_om -t refreshconf could not reach every node, as is expected while one is \
                 down; do not use gs_om -t start until it has succeeded: {words}"
            ),
            Self::Other(words) => write!(f, "gs_om -t refreshconf failed: {words}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let begin = "Generating dynamic configuration file for all nodes.\n\
            [GAUSS-50205] : Failed to write dynamic configuration file. Error: \n";
        let count = format!("{begin}[GAUSS-51230] : The number of master dn must equal to 1.\n");
        assert_eq!(Failure::parse(&count), Failure::PrimaryCount);

        let node = format!(
            "{begin}[GAUSS-51400] : Failed to execute the command: scp. Error:\nlost connection\n"
        );
        let failure = Failure::parse(&node);
        assert!(matches!(&failure, Failure::Node(words) if words.ends_with("lost connection")));
        assert!(failure.to_string().contains("expected while one is down"));

        let other = Failure::parse("[GAUSS-50105] : Cannot run as root.\n");
        assert_eq!(other, Failure::Other("[GAUSS-50105] : Cannot run as root.".to_owned()));
    }
}
