//! One line of the log: what happened, where in the code, with which fields.

use std::{
    fmt::{self, Write as _},
    time::SystemTime,
};

use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::printable::{escape, escape_within};

/// Octets that a message or a field may have: what a tool says may have no end.
const LONGEST: usize = 8 * 1024;

/// A line that is to be written.
#[derive(Clone, Debug)]
pub struct Record {
    /// How bad it is.
    pub level: Level,
    /// The module.
    pub target: String,
    /// Escaped.
    pub message: String,
    /// Names, and escaped values.
    pub fields: Vec<(&'static str, String)>,
    /// When.
    pub at: SystemTime,
}

impl Record {
    /// Of what the code reports.
    pub fn of(event: &Event<'_>) -> Self {
        let meta = event.metadata();
        let mut record = Self::new(*meta.level(), meta.target(), "");
        event.record(&mut record);
        record
    }

    /// A line without fields.
    pub fn new(level: Level, target: &str, message: &str) -> Self {
        let message = escape_within(message, LONGEST).into_owned();
        Self { level, target: target.to_owned(), message, fields: vec![], at: SystemTime::now() }
    }

    /// About how much memory it takes.
    pub fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(_, value)| 64 + value.len()).sum();
        128 + self.message.len() + self.target.len() + fields
    }

    /// The message with its fields, without a newline.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            let _ = write!(text, "{}{name}={value}", if text.is_empty() { "" } else { " " });
        }
        text
    }

    /// The whole line, with its newline.
    pub fn line(&self, with_time: bool, colored: bool) -> String {
        let mut line = String::new();
        if with_time {
            let _ = write!(line, "{} ", humantime::format_rfc3339_micros(self.at));
        }
        let color = match self.level {
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            _ => "\x1b[32m",
        };
        let (color, reset) = if colored { (color, "\x1b[0m") } else { ("", "") };
        let _ = writeln!(
            line,
            "{color}{:>5}{reset} {}: {}",
            self.level.as_str(),
            self.target,
            self.text()
        );
        line
    }

    fn put(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = escape_within(value, LONGEST).into_owned(),
            // A line of another crate, by way of the crate `log`.
            "log.target" => self.target = escape(value).into_owned(),
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, escape_within(value, LONGEST).into_owned())),
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" | "log.target" => self.put(field, value),
            _ => self.put(field, &format!("{value:?}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}
