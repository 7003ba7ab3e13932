//! The configuration file: TOML in, validated types out, or every problem of the file with its
//! line.
//!
//! Reading is pure ([`Config::parse`]); what only this host can tell (does the interface exist?)
//! is asked separately ([`Config::check_host`]). Nothing is ignored silently: an unknown key is
//! an error, and so is a feature that is not supported yet.

mod addresses;
mod arbiter;
mod claims;
mod database;
mod difference;
mod error;
mod instance;
mod liveness;
mod node;
mod policy;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod vrrp;

use std::path::Path;

pub use arbiter::MAX_GATEWAYS;
pub use difference::Difference;
pub use error::{Errors, Problem};
use reader::{Problems, Reader};
pub use schema::{SECTIONS, Section};
use toml::de::DeTable;
pub use types::*;

/// Where the agent looks for its configuration unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/ogha/ogha.toml";

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// The file cannot be read, or has problems: all of them, each with its line.
    pub fn load(file: &Path) -> Result<Self, Errors> {
        let bytes = std::fs::read(file).map_err(|error| Errors::unreadable(file, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            Errors::one(file, Some(line), "syntax", "is not UTF-8; save the file as UTF-8 text")
        })?;
        Self::parse(&text, file)
    }

    /// Validates the text of a file; `file` is only for the messages.
    ///
    /// # Errors
    /// All problems of the text, in the order of their lines.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Errors> {
        let problems = Problems::new(text);
        let (document, faults) = DeTable::parse_recoverable(text);
        for fault in &faults {
            problems.syntax(fault.span().map_or(0, |span| span.start), fault.message());
        }
        let config = if faults.is_empty() {
            let root = Reader::root(document.get_ref(), &problems);
            read(&root)
        } else {
            None
        };
        problems.into_result(config, file)
    }
}

fn read(root: &Reader<'_>) -> Option<Config> {
    let node = root.required_table("node").as_ref().and_then(node::read);
    let mut claims = claims::Claims::default();
    let instances = instance::read_all(root, node.as_ref(), &mut claims);
    claims.finish(root);
    root.finish();
    Some(Config { node: node?, instances: instances? })
}
