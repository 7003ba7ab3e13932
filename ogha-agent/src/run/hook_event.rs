//! What the operator's command gets to know.

use std::ffi::OsString;

/// A transition, as a hook's environment has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(super) name: &'static str,
    pub(super) variables: Vec<(OsString, OsString)>,
}
