//! Who is let in: the lines of `pg_hba.conf`, and the first that a login meets (PostgreSQL's
//! documentation, "The pg_hba.conf File").

use std::net::IpAddr;

/// A line that says who is let in, or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its number in the file.
    pub line: u32,
    /// `local`, `host`, `hostssl`, ..
    pub kind: String,
    /// Databases, or words for them.
    pub databases: Vec<String>,
    /// Users, or words for them.
    pub users: Vec<String>,
    /// Address, network or name; none of `local`.
    pub address: Option<String>,
    /// The mask, where it stands in a field of its own.
    pub mask: Option<String>,
    /// `peer`, `trust`, `scram-sha-256`, ..
    pub method: String,
}

/// Somebody who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// The database; `replication` for what receives the log.
    pub database: &'a str,
    /// The user.
    pub user: &'a str,
    /// From where; `None`: by the Unix socket.
    pub from: Option<IpAddr>,
}

/// Which line decides about a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decides {
    /// This one.
    Line(Rule),
    /// None: it is refused.
    None,
    /// It depends on what the line alone does not tell: a role's members, another file, a name's address.
    Unknown,
}

/// Reads the file. A line that cannot be read is left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Rule> {
    let numbered = text.lines().zip(1..);
    numbered.filter_map(|(line, number)| rule(number, &fields(line))).collect()
}

/// The fields of a line: blanks part them, quotes hold together, `#` ends the line. A word with a comma
/// behind it is followed by another of its field; a comma behind a blank is passed over.
fn fields(line: &str) -> Vec<Vec<String>> {
    let mut fields = vec![vec![String::new()]];
    let mut quoted = false;
    for c in line.chars() {
        let last = fields.len() - 1;
        let empty = fields[last] == [""];
        match c {
            '#' if !quoted => break,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                if fields[last].last().is_some_and(|word| !word.is_empty()) {
                    fields[last].push(String::new());
                }
            }
            c if c.is_whitespace() && !quoted => {
                let listing = fields[last].last().is_some_and(String::is_empty);
                if !empty && !listing {
                    fields.push(vec![String::new()]);
                }
            }
            c => {
                if let Some(word) = fields[last].last_mut() {
                    word.push(c);
                }
            }
        }
    }
    fields.iter_mut().for_each(|field| field.retain(|word| !word.is_empty()));
    fields.retain(|field| !field.is_empty());
    fields
}

fn rule(line: u32, fields: &[Vec<String>]) -> Option<Rule> {
    let word = |at: usize| fields.get(at).and_then(|field| field.first()).cloned();
    let kind = word(0)?;
    let known = ["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"];
    if !known.contains(&kind.as_str()) {
        return None;
    }
    let mut next = 3;
    let (mut address, mut mask) = (None, None);
    if kind != "local" {
        address = Some(word(next)?);
        next += 1;
        mask = word(next).filter(|word| word.parse::<IpAddr>().is_ok());
        next += usize::from(mask.is_some());
    }
    let (databases, users) = (fields.get(1)?.clone(), fields.get(2)?.clone());
    Some(Rule { line, kind, databases, users, address, mask, method: word(next)? })
}

/// The first line that is about a login.
#[must_use]
pub fn decides(rules: &[Rule], login: Login<'_>) -> Decides {
    for rule in rules {
        match rule.matches(login) {
            Some(true) => return Decides::Line(rule.clone()),
            Some(false) => {}
            None => return Decides::Unknown,
        }
    }
    Decides::None
}

impl Rule {
    /// Whether it is about that login; `None` if that is not known.
    fn matches(&self, login: Login<'_>) -> Option<bool> {
        let kind = match login.from {
            None => self.kind == "local",
            // A login that may be encrypted: ogha and the server's own receiver can do without.
            Some(_) => {
                matches!(self.kind.as_str(), "host" | "hostnossl" | "hostssl" | "hostnogssenc")
            }
        };
        let parts = [
            Some(kind),
            any(&self.databases, |word| database(word, login)),
            any(&self.users, |word| user(word, login)),
            login.from.map_or(Some(true), |from| self.comes(from)),
        ];
        if parts.contains(&Some(false)) {
            return Some(false);
        }
        parts.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
    }

    fn comes(&self, from: IpAddr) -> Option<bool> {
        let address = self.address.as_deref()?;
        if address == "all" {
            return Some(true);
        }
        let (text, length) = match address.split_once('/') {
            Some((text, length)) => (text, Some(length.parse().ok()?)),
            None => (address, None),
        };
        let network: IpAddr = text.parse().ok()?;
        let mask = self.mask.as_deref().and_then(|mask| mask.parse::<IpAddr>().ok());
        match (network, from) {
            (IpAddr::V4(network), IpAddr::V4(from)) => {
                let mask = match (mask, length) {
                    (Some(IpAddr::V4(mask)), _) => mask.to_bits(),
                    (_, length) => leading(length.unwrap_or(32), 32) as u32,
                };
                Some(network.to_bits() & mask == from.to_bits() & mask)
            }
            (IpAddr::V6(network), IpAddr::V6(from)) => {
                let mask = match (mask, length) {
                    (Some(IpAddr::V6(mask)), _) => mask.to_bits(),
                    (_, length) => leading(length.unwrap_or(128), 128),
                };
                Some(network.to_bits() & mask == from.to_bits() & mask)
            }
            _ => Some(false),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, kind, method, .. } = self;
        let (databases, users) = (self.databases.join(","), self.users.join(","));
        write!(f, "line {line} (`{kind} {databases} {users} ")?;
        for part in [&self.address, &self.mask].into_iter().flatten() {
            write!(f, "{part} ")?;
        }
        write!(f, "{method}`)")
    }
}

/// So many ones of a mask of that width.
fn leading(ones: u32, width: u32) -> u128 {
    let zeros = width - ones.min(width);
    let all = u128::MAX >> (128 - width);
    if zeros >= 128 { 0 } else { all >> zeros << zeros }
}

/// Whether one of the words is it; a word that is not known counts only where no other is.
fn any(words: &[String], is: impl Fn(&str) -> Option<bool>) -> Option<bool> {
    let found: Vec<_> = words.iter().map(|word| is(word)).collect();
    if found.contains(&Some(true)) {
        return Some(true);
    }
    if found.contains(&None) { None } else { Some(false) }
}

fn database(word: &str, login: Login<'_>) -> Option<bool> {
    match word {
        // No database is called so: the word is about what receives the log, and `all` is not.
        "replication" => Some(login.database == "replication"),
        "all" => Some(login.database != "replication"),
        "sameuser" => Some(login.database == login.user),
        "samerole" | "samegroup" => None,
        word if word.starts_with(['@', '/']) => None,
        word => Some(word == login.database),
    }
}

fn user(word: &str, login: Login<'_>) -> Option<bool> {
    match word {
        "all" => Some(true),
        word if word.starts_with(['@', '/', '+']) => None,
        word => Some(word == login.user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE DATABASE USER ADDRESS METHOD
local   replication  all                   peer
local   \"my db\",other,  third   app     md5   # a comment
local   all          +dba                  peer map=x
local   all          all                   scram-sha-256
host    all          all   127.0.0.1/32    trust
host    replication  repl  192.0.2.0 255.255.255.0  scram-sha-256
hostssl all          all   fd00::/64       cert
include other.conf
host    all          all   db.example      md5
";

    fn line(login: Login<'_>) -> String {
        match decides(&parse(TEXT), login) {
            Decides::Line(rule) => rule.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn local<'a>(database: &'a str, user: &'a str) -> Login<'a> {
        Login { database, user, from: None }
    }

    #[test]
    fn the_first_line_decides() {
        assert_eq!(line(local("replication", "x")), "line 2 (`local replication all peer`)");
        assert_eq!(line(local("my db", "app")), "line 3 (`local my db,other,third app md5`)");
        assert_eq!(line(local("third", "app")), "line 3 (`local my db,other,third app md5`)");
        assert_eq!(line(local("postgres", "postgres")), "Unknown", "who is a member of dba?");
        let rules: Vec<_> = parse(TEXT).into_iter().filter(|rule| rule.line != 4).collect();
        let Decides::Line(rule) = decides(&rules, local("postgres", "postgres")) else { panic!() };
        assert_eq!((rule.line, rule.method.as_str()), (5, "scram-sha-256"));
    }

    #[test]
    fn a_comma_behind_a_blank_continues_no_list() {
        let [rule] = &parse("local a , b peer\n")[..] else { panic!() };
        assert_eq!((&rule.databases[..], &rule.users[..]), (&["a".into()][..], &["b".into()][..]));
        assert_eq!(rule.method, "peer");
    }

    #[test]
    fn addresses_and_masks() {
        let from = |database, user, from: &str| {
            line(Login { database, user, from: Some(from.parse().unwrap()) })
        };
        let mask = "line 7 (`host replication repl 192.0.2.0 255.255.255.0 scram-sha-256`)";
        assert_eq!(from("replication", "repl", "192.0.2.99"), mask);
        assert_eq!(from("replication", "repl", "192.0.3.1"), "None");
        assert_eq!(from("replication", "other", "192.0.2.99"), "None", "all is no replication");
        assert_eq!(from("db", "u", "127.0.0.1"), "line 6 (`host all all 127.0.0.1/32 trust`)");
        assert_eq!(from("db", "u", "fd00::7"), "line 8 (`hostssl all all fd00::/64 cert`)");
        assert_eq!(from("db", "u", "192.0.2.1"), "Unknown", "a name is to be looked up");
        assert_eq!(
            (leading(0, 32), leading(33, 32), leading(24, 32)),
            (0, 0xffff_ffff, 0xffff_ff00)
        );
        assert_eq!((leading(0, 128), leading(128, 128)), (0, u128::MAX));
    }

    #[test]
    fn nothing_that_is_read_panics() {
        for text in ["", "host", "host a b", "local a b", ",,, , \"", "host all all x/y trust"] {
            let rules = parse(text);
            let login = Login { database: "d", user: "u", from: Some([127, 0, 0, 1].into()) };
            assert_ne!(decides(&rules, login), Decides::Line(Rule::default()));
        }
    }
}
