//! What happened in a run, line by line, for a person to read.

use std::cell::{Cell, RefCell};

use super::clock::MS;

/// The lines so far.
#[derive(Debug, Default)]
pub struct Scribe {
    /// The world's time.
    pub now: Cell<u64>,
    /// One line an event.
    pub lines: RefCell<Vec<String>>,
}

impl Scribe {
    /// Adds a line.
    pub fn note(&self, line: &str) {
        let at = self.now.get() as f64 / MS as f64;
        self.lines.borrow_mut().push(format!("{at:>10.3} ms  {line}"));
    }
}
