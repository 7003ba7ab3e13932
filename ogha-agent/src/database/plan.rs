//! What a rejoin would do, found out without changing anything.

use std::{fmt, path::PathBuf};

use serde::Serialize;

use super::kept::{Kept, Size};

/// The way that a rejoin would take, the cheapest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It could not be found out.
    #[default]
    Unknown,
    /// It is a standby of that peer already.
    Nothing,
    /// It starts as a standby, and nothing is copied.
    Follow,
    /// What differs is copied over what is here.
    Rewind,
    /// The whole database is copied, and takes the place of this one.
    Copy,
}

/// The plan of a rejoin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whose standby the database would be.
    pub of: String,
    /// How.
    pub way: Way,
    /// Why so.
    pub why: Vec<String>,
    /// Whether a server is at work, which would be stopped.
    pub stops: bool,
    /// What only this node has, and would lose.
    pub loses: Option<String>,
    /// The files that would be kept of what is here, with their size now.
    pub keeps: Vec<Keeps>,
    /// What would keep the rejoin from being done, and what to do.
    pub obstacles: Vec<String>,
    /// What may go wrong, and would be dealt with.
    pub notes: Vec<String>,
    /// What earlier rejoins have kept.
    pub left: Vec<Kept>,
}

/// Something that a rejoin would keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keeps {
    /// Where it would be.
    pub place: PathBuf,
    /// Bytes of it.
    pub bytes: u64,
    /// What it is.
    pub what: String,
}

impl Plan {
    /// Whether nothing was found that would keep the rejoin from being done.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.obstacles.is_empty()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "not known",
            Self::Nothing => "nothing: the database is a standby of that node already",
            Self::Follow => {
                "follow: it starts as a standby and receives the WAL; nothing is copied"
            }
            Self::Rewind => "pg_rewind: what differs is copied over the files here",
            Self::Copy => "copy: the whole database is copied, and takes the place of this one",
        })
    }
}

/// A page for people.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a rejoin to {} (nothing was changed):", self.of)?;
        let mut line = |name: &str, text: &str| writeln!(f, "  {name:<9} {text}");
        line("way", &self.way.to_string())?;
        for why in &self.why {
            line("because", why)?;
        }
        if self.stops && self.way != Way::Nothing {
            line("stops", "the server that is at work here")?;
        }
        match (&self.loses, self.way) {
            (Some(loses), _) => line("LOSES", loses)?,
            (None, Way::Unknown) => line("loses", "not known")?,
            (None, _) => line("loses", "nothing")?,
        }
        for Keeps { place, bytes, what } in &self.keeps {
            line("keeps", &format!("{} ({}): {what}", place.display(), Size(*bytes)))?;
        }
        for obstacle in &self.obstacles {
            line("REFUSED", obstacle)?;
        }
        for note in &self.notes {
            line("note", note)?;
        }
        for kept in &self.left {
            line("left", &format!("{kept}, by an earlier rejoin; remove it when nobody needs it"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_page() {
        let plan = Plan {
            of: "db2".into(),
            way: Way::Copy,
            loses: Some("timeline 1 from 0/1 to 0/2".into()),
            stops: true,
            left: vec![Kept { path: "/d.ogha-lost-1".into(), bytes: 16 << 20 }],
            ..Plan::default()
        };
        let text = plan.to_string();
        for words in [
            "a rejoin to db2 (nothing was changed)",
            "way       copy: the whole",
            "stops     the server",
            "LOSES     timeline 1 from 0/1 to 0/2",
            "left      /d.ogha-lost-1 (16.0 MiB)",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(plan.is_possible());
        let refused = Plan { obstacles: vec!["a mount point".into()], ..plan };
        assert!(!refused.is_possible() && refused.to_string().contains("REFUSED   a mount"));
    }
}
