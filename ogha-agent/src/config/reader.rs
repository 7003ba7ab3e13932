//! Reads one table: each value through a parser, each problem with its line, no key unseen.

use std::{cell::RefCell, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::{Errors, Problem},
    schema::{self, Section},
    value,
};

/// Where the problems of a text gather.
pub(super) struct Problems<'t> {
    text: &'t str,
    found: RefCell<Vec<(usize, String, String)>>,
}

impl<'t> Problems<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, found: RefCell::new(Vec::new()) }
    }

    /// The line, counted from 1, of a byte offset.
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn add(&self, at: usize, key: String, what: String) {
        self.found.borrow_mut().push((at, key, what));
    }

    /// A text that is not TOML. One problem a line is enough: the rest follow from the first.
    pub(super) fn syntax(&self, at: usize, message: &str) {
        let line = self.line(at);
        if self.found.borrow().iter().any(|(other, ..)| self.line(*other) == line) {
            return;
        }
        let message = message.trim().replace('\n', ", ");
        self.add(at, "syntax".to_owned(), format!("{message}; write it as TOML"));
    }

    /// The configuration, if there is one and nothing is wrong with it.
    pub(super) fn into_result<T>(self, read: Option<T>, file: &Path) -> Result<T, Errors> {
        let mut found = self.found.take();
        if let (Some(read), true) = (read, found.is_empty()) {
            return Ok(read);
        }
        found.sort();
        let problems = found
            .into_iter()
            .map(|(at, key, what)| Problem { line: Some(self.line(at)), key, what })
            .collect();
        Err(Errors::new(file, problems))
    }
}

/// What a missing or wrong value leaves behind: `None` means that a problem was reported.
pub(super) type Read<T> = Option<T>;

/// One table of the file, or the absence of one whose keys all have defaults.
pub(super) struct Reader<'d> {
    section: &'static Section,
    table: Option<&'d DeTable<'d>>,
    at: usize,
    problems: &'d Problems<'d>,
}

impl<'d> Reader<'d> {
    /// The top of the file.
    pub(super) fn root(table: &'d DeTable<'d>, problems: &'d Problems<'d>) -> Self {
        Self { section: schema::section(""), table: Some(table), at: 0, problems }
    }

    fn path(&self, key: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let key = match !key.is_empty() && key.chars().all(bare) {
            true => key.to_owned(),
            false => format!("{key:?}"),
        };
        if self.section.path.is_empty() { key } else { format!("{}.{key}", self.section.path) }
    }

    fn find(&self, key: &str) -> Option<(usize, &'d Spanned<DeValue<'d>>)> {
        debug_assert!(self.section.keys.contains(&key), "{key} is not in the schema");
        let (name, value) = self.table?.get_key_value(key)?;
        Some((name.span().start, value))
    }

    /// Whether the file says anything of the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The string that the file gives the key; empty where it gives none.
    pub(super) fn given(&self, key: &str) -> &'d str {
        self.find(key).and_then(|(_, value)| value.get_ref().as_str()).unwrap_or_default()
    }

    /// Where the key stands, or the table that lacks it.
    pub(super) fn at(&self, key: &str) -> usize {
        self.find(key).map_or(self.at, |(at, _)| at)
    }

    /// The line, counted from 1, of a byte offset.
    pub(super) fn line(&self, at: usize) -> usize {
        self.problems.line(at)
    }

    /// Reports a problem of the key, where the key stands.
    pub(super) fn problem(&self, key: &str, what: impl Into<String>) {
        self.problem_at(self.at(key), key, what);
    }

    /// Reports a problem of the key at an offset within its value.
    pub(super) fn problem_at(&self, at: usize, key: &str, what: impl Into<String>) {
        self.problems.add(at, self.path(key), what.into());
    }

    /// Reports a problem of a key further down, given by its whole path.
    pub(super) fn problem_below(&self, at: usize, path: &str, what: impl Into<String>) {
        self.problems.add(at, path.to_owned(), what.into());
    }

    /// A value that may be missing.
    pub(super) fn maybe<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<Option<T>> {
        let Some((_, value)) = self.find(key) else { return Some(None) };
        parse(value.get_ref()).map_err(|what| self.problem(key, what)).ok().map(Some)
    }

    /// A value with a default.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<T> {
        self.maybe(key, parse).map(|read| read.unwrap_or(default))
    }

    /// A value without a default; `example` is how it could be written.
    pub(super) fn required<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<T> {
        let read = self.maybe(key, parse)?;
        if read.is_none() {
            let header = self.section.header;
            self.problem(key, format!("is missing; add {key} = {example} to {header}"));
        }
        read
    }

    /// A list of values, each with its own place.
    pub(super) fn list<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<Vec<(usize, T)>> {
        let values = self.required(key, example, |value| {
            let array = value.as_array().ok_or_else(|| value::not_a("a list", value, example))?;
            let place = |value: &Spanned<DeValue<'_>>| (value.span().start, parse(value.get_ref()));
            Ok(array.iter().map(place).collect::<Vec<_>>())
        })?;
        if values.is_empty() {
            self.problem(key, format!("is empty; write for example {example}"));
            return None;
        }
        let report = |(at, parsed): (usize, Result<T, String>)| {
            parsed.map_err(|what| self.problem_at(at, key, what)).ok().map(|value| (at, value))
        };
        let read: Vec<_> = values.into_iter().map(report).collect();
        read.into_iter().collect()
    }

    /// One value, or a list of them, each with its own place.
    pub(super) fn one_or_more<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<Vec<(usize, T)>> {
        if self.find(key).is_some_and(|(_, value)| value.get_ref().is_array()) {
            return self.list(key, example, parse);
        }
        self.required(key, example, parse).map(|value| vec![(self.at(key), value)])
    }

    fn within(&self, key: &str, at: usize, table: Option<&'d DeTable<'d>>) -> Self {
        let section = schema::section(&self.path(key));
        Reader { section, table, at, problems: self.problems }
    }

    /// The table within, all of whose keys have defaults.
    pub(super) fn table(&self, key: &str) -> Read<Self> {
        let Some((_, value)) = self.find(key) else { return Some(self.within(key, self.at, None)) };
        let table = value.get_ref().as_table();
        if table.is_none() {
            let header = schema::section(&self.path(key)).header;
            let kind = value::article(value.get_ref().type_str());
            let what = format!("must be a table, not {kind}; begin it with {header}");
            self.problem_at(value.span().start, key, what);
        }
        table.map(|table| self.within(key, value.span().start, Some(table)))
    }

    /// The table within that must be there.
    pub(super) fn required_table(&self, key: &str) -> Read<Self> {
        if !self.has(key) {
            let header = schema::section(&self.path(key)).header;
            self.problem(key, format!("is missing; add the table {header}"));
            return None;
        }
        self.table(key)
    }

    /// The tables of a list (`[[..]]`); none where the key is missing.
    pub(super) fn tables(&self, key: &str) -> Read<Vec<Self>> {
        let Some((_, value)) = self.find(key) else { return Some(Vec::new()) };
        let header = schema::section(&self.path(key)).header;
        let wrong = |at: usize, value: &DeValue<'_>| {
            let kind = value::article(value.type_str());
            let what = format!("must be a list of tables, not {kind}; begin each with {header}");
            self.problem_at(at, key, what);
        };
        let Some(array) = value.get_ref().as_array() else {
            wrong(value.span().start, value.get_ref());
            return None;
        };
        let reader = |element: &'d Spanned<DeValue<'d>>| {
            let at = element.span().start;
            let table = element.get_ref().as_table();
            if table.is_none() {
                wrong(at, element.get_ref());
            }
            table.map(|table| self.within(key, at, Some(table)))
        };
        let read: Vec<_> = array.iter().map(reader).collect();
        read.into_iter().collect()
    }

    /// Reports the keys that the section does not have.
    pub(super) fn finish(&self) {
        for (key, _) in self.table.into_iter().flatten() {
            if !self.section.keys.contains(&key.get_ref().as_ref()) {
                let what = schema::unknown(self.section, key.get_ref());
                self.problem_at(key.span().start, key.get_ref(), what);
            }
        }
    }
}
