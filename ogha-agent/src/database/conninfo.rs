//! libpq's connection strings, as `primary_conninfo` holds them: `host=a port=1`, or a URI
//! (PostgreSQL's documentation, "Connection Strings").

use std::{ffi::OsString, fmt, net::IpAddr};

use anyhow::Context as _;

use super::Peer;

/// The parameters of a connection, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conninfo(Vec<(String, String)>);

impl Conninfo {
    /// Reads a connection string; an empty one has no parameters.
    ///
    /// # Errors
    /// When it cannot be read as either form. The string itself is not in the message, for it may
    /// hold a password.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let uri =
            ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        uri.map_or_else(|| words(text), from_uri)
    }

    /// A parameter's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Sets a parameter, in its place if it was there.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Takes a parameter out.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let value = self.get(key).map(str::to_owned);
        self.0.retain(|(name, _)| name != key);
        value
    }

    /// The same connection to another server: every other parameter is kept, and
    /// `application_name` becomes the node's, so that the rows of `pg_stat_replication` can be told
    /// apart.
    #[must_use]
    pub fn to(mut self, peer: &Peer, own_name: &str) -> Self {
        // It would be connected to instead of the host.
        self.take("hostaddr");
        let hosts: Vec<_> = peer.addresses.iter().map(IpAddr::to_string).collect();
        self.set("host", hosts.join(","));
        self.set("port", peer.port.to_string());
        self.set("application_name", own_name);
        if hosts.len() > 1 && self.get("connect_timeout").is_none() {
            // Else the second path waits minutes for the first.
            self.set("connect_timeout", "5");
        }
        self
    }

    /// Takes the password out, for a tool's environment instead of its arguments.
    pub fn take_secrets(&mut self) -> Vec<(OsString, OsString)> {
        let password = self.take("password");
        password.map(|password| ("PGPASSWORD".into(), password.into())).into_iter().collect()
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/,@".contains(c);
            if !value.is_empty() && value.chars().all(plain) {
                write!(f, "{space}{key}={value}")?;
            } else {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                write!(f, "{space}{key}='{value}'")?;
            }
        }
        Ok(())
    }
}

fn words(text: &str) -> anyhow::Result<Conninfo> {
    let mut found = Conninfo::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) =
            rest.split_once('=').context("a connection string has a word without \"=\"")?;
        let (value, after) = value(after.trim_start())?;
        found.0.push((key.trim().to_owned(), value));
        rest = after.trim_start();
    }
    Ok(found)
}

/// The value at the begin of a text, and what follows it.
fn value(text: &str) -> anyhow::Result<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    anyhow::ensure!(!quoted, "a connection string has a quote that does not end");
    Ok((value, ""))
}

fn from_uri(uri: &str) -> anyhow::Result<Conninfo> {
    let mut found = Conninfo::default();
    let mut put = |key: &str, value: &str| -> anyhow::Result<()> {
        if !value.is_empty() {
            found.set(key, decode(value)?);
        }
        Ok(())
    };
    let (rest, query) = uri.split_once('?').unwrap_or((uri, ""));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    put("user", user)?;
    put("password", password)?;
    let places: Vec<_> = hosts.split(',').map(place).collect();
    let join =
        |of: fn(&(&str, &str)) -> String| places.iter().map(of).collect::<Vec<_>>().join(",");
    put("host", &join(|(host, _)| (*host).to_owned()))?;
    put("port", &join(|(_, port)| (*port).to_owned()))?;
    put("dbname", dbname)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) =
            pair.split_once('=').context("a connection URI has a word without \"=\"")?;
        put(key, value)?;
    }
    Ok(found)
}

/// Host and port; an IPv6 address stands in brackets.
fn place(text: &str) -> (&str, &str) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').unwrap_or_default());
    }
    text.split_once(':').unwrap_or((text, ""))
}

fn decode(text: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(if *byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16));
            let (high, low) = (digit(), digit());
            let code = high.zip(low).map(|(high, low)| high * 16 + low);
            u8::try_from(code.context("a connection URI has a broken escape")?)?
        } else {
            *byte
        });
    }
    String::from_utf8(bytes).context("a connection URI is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(addresses: &[&str]) -> Peer {
        Peer {
            name: "db2".to_owned(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            port: 5433,
        }
    }

    #[test]
    fn everything_but_the_place_and_the_name_is_kept() {
        let old = r"user=repl password='it''s' sslmode = verify-ca passfile='/a b/\'c' host=old hostaddr=10.0.0.1 port=1 application_name=x";
        let old = old.replace("''", r"\'");
        let new = Conninfo::parse(&old).unwrap().to(&peer(&["192.0.2.12"]), "db-1");
        assert_eq!(
            new.to_string(),
            r"user=repl password='it\'s' sslmode=verify-ca passfile='/a b/\'c' host=192.0.2.12 port=5433 application_name=db-1"
        );
        assert_eq!(Conninfo::parse(&new.to_string()).unwrap(), new);
    }

    #[test]
    fn a_peer_with_two_paths() {
        let new = Conninfo::default().to(&peer(&["192.0.2.12", "fd00::2"]), "db1");
        assert_eq!(
            new.to_string(),
            "host=192.0.2.12,fd00::2 port=5433 application_name=db1 connect_timeout=5"
        );
    }

    #[test]
    fn uris() {
        let uri = "postgresql://repl:p%40ss@[fd00::1]:5433,db2/postgres?sslmode=require";
        let read = Conninfo::parse(uri).unwrap();
        assert_eq!(
            read.to_string(),
            "user=repl password=p@ss host=fd00::1,db2 port=5433, dbname=postgres sslmode=require"
        );
        assert_eq!(Conninfo::parse("postgres://db2").unwrap().to_string(), "host=db2");
        assert!(Conninfo::parse("postgres://db2?x=%G0").is_err());
    }

    #[test]
    fn what_is_no_connection_string() {
        assert_eq!(Conninfo::parse("").unwrap(), Conninfo::default());
        for text in ["host", "host='a", "host=a b"] {
            assert!(Conninfo::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_goes_apart() {
        let mut conninfo = Conninfo::parse("user=u password='p w'").unwrap();
        assert_eq!(conninfo.take_secrets(), [("PGPASSWORD".into(), "p w".into())]);
        assert_eq!(conninfo.to_string(), "user=u");
        assert!(conninfo.take_secrets().is_empty());
    }
}
