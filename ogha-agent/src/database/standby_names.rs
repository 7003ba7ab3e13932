//! `synchronous_standby_names`: what a value means, and the value that names exactly some.

/// What `synchronous_standby_names` means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// How many of them must confirm.
    pub count: usize,
    /// Those that are listed.
    pub names: Vec<String>,
}

impl Names {
    /// Reads `FIRST n (a, "b")`, `ANY n (..)`, `n (..)` or a bare list, which means the first of it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::default());
        }
        let Some((head, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('('))
        else {
            return Some(Self { count: 1, names: list(text)? });
        };
        // A quote before the parenthesis: it belongs to a name.
        if head.contains('"') {
            return Some(Self { count: 1, names: list(text)? });
        }
        let count = head.split_whitespace().last()?.parse().ok()?;
        Some(Self { count, names: list(inner)? })
    }

    /// Whether the list names a standby. The server compares without regard to case.
    pub fn lists(&self, name: &str) -> bool {
        self.names.iter().any(|listed| listed.eq_ignore_ascii_case(name))
    }

    /// Whether each that is listed must confirm, and nobody can take its place.
    pub fn is_strict(&self) -> bool {
        self.count >= self.names.len() && self.names.iter().all(|name| name != "*")
    }

    /// Whether commits wait for nobody.
    pub fn is_empty(&self) -> bool {
        self.count == 0 || self.names.is_empty()
    }
}

fn list(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        if name.is_empty() {
            return None;
        }
        names.push(name);
        match after.trim_start().strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return after.trim().is_empty().then_some(names),
        }
    }
}

/// A name up to its closing quote, which a doubled one is not; and what follows.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// The value that makes commits wait for exactly these.
pub(super) fn demand(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let quoted: Vec<_> =
        names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    format!("FIRST {} ({})", names.len(), quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_server_reads_them() {
        let read = |text| Names::parse(text).map(|names| (names.count, names.names));
        let some =
            |count, names: &[&str]| Some((count, names.iter().map(|n| (*n).to_owned()).collect()));
        assert_eq!(read(""), some(0, &[]));
        assert_eq!(read("*"), some(1, &["*"]));
        assert_eq!(read("a, \"b,\"\"c\""), some(1, &["a", "b,\"c"]));
        assert_eq!(read("FIRST 2 (\"a\",\"b\")"), some(2, &["a", "b"]));
        assert_eq!(read("any 1 (a, b)"), some(1, &["a", "b"]));
        assert_eq!(read("2(a,b)"), some(2, &["a", "b"]));
        assert_eq!(read("\"15/main\""), some(1, &["15/main"]));
        assert_eq!(read("FIRST x (a)"), None);
        assert_eq!(read("\"a"), None);
    }

    #[test]
    fn what_is_demanded_is_read_back() {
        assert_eq!(demand(&[]), "");
        let names = ["db2".to_owned(), "odd\"name".to_owned()];
        let text = demand(&names);
        assert_eq!(text, "FIRST 2 (\"db2\",\"odd\"\"name\")");
        assert_eq!(Names::parse(&text), Some(Names { count: 2, names: names.into() }));
    }
}
