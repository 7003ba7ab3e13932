//! What stands under the key: a line of JSON that a person can read and a node can trust.
//!
//! ```json
//! {"version":1,"term":7,"primary":{"name":"db1","id":"ca896918f453f7d6"},"in_sync":[..],
//!  "written_by":"db1","written_at":"2026-01-31T10:20:30Z"}
//! ```
//!
//! Nodes go by their ids; names, writer and time are for people.

use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use ogha_common::{
    failover::{NodeSet, Record},
    units::{NodeId, Term},
};
use serde::{Deserialize, Serialize};

use crate::arbiter::Names;

/// The form that is written. A higher one means nodes of a newer version, which must not be
/// overwritten by this one.
const VERSION: u64 = 1;
/// How much of a value that is not ours a message shows, in characters.
const SHOWN: usize = 120;

#[derive(Serialize, Deserialize)]
struct Value {
    version: u64,
    term: u64,
    primary: Node,
    in_sync: Vec<Node>,
    written_by: String,
    written_at: String,
}

#[derive(Serialize, Deserialize)]
struct Node {
    name: Option<String>,
    id: String,
}

/// The one field that each form has.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// The line for a record.
///
/// # Errors
/// Never in practice: the form has no key that is not a string.
pub fn encode(record: &Record, names: &Names, at: SystemTime) -> anyhow::Result<String> {
    let node = |id: NodeId| Node { name: names.get(id).map(str::to_owned), id: id.to_string() };
    let mut in_sync: Vec<_> = record.in_sync.iter().collect();
    in_sync.sort_by_key(|node| node.get());
    let value = Value {
        version: VERSION,
        term: record.term.get(),
        primary: node(record.primary),
        in_sync: in_sync.into_iter().map(node).collect(),
        written_by: names.own().to_owned(),
        written_at: humantime::format_rfc3339_seconds(at).to_string(),
    };
    serde_json::to_string(&value).context("writing the record as JSON")
}

/// The term that is taken for known before any record was seen: half of all numbers. A node that has
/// just started cannot tell here what leaps; the core can, which knows the record on the disk.
const UNKNOWN: Term = Term::new(u64::MAX / 2);

/// The record that a value holds. `known`: the term of the record that this node has seen there, or has
/// proposed; `None`: it has seen none yet.
///
/// # Errors
/// When it is of another form or of a higher version, or its term cannot be true; the error says what
/// was found.
pub fn decode(bytes: &[u8], known: Option<Term>) -> anyhow::Result<Record> {
    let record = understand(bytes)?;
    let own = known.unwrap_or(UNKNOWN);
    ensure!(
        !record.term.leaps_from(own),
        "the record there has term {}, far above any that this cluster can have reached{}: the \
         consensus store was written by hand, or is damaged. It is not used. To let the cluster write \
         its record anew, delete the key",
        record.term,
        known.map(|known| format!(" (this node knows term {known})")).unwrap_or_default()
    );
    Ok(record)
}

fn understand(bytes: &[u8]) -> anyhow::Result<Record> {
    parse(bytes).with_context(|| {
        let text: String = String::from_utf8_lossy(bytes).chars().take(SHOWN).collect();
        format!(
            "the current value is not a record of this version of ogha, and is left alone: {text:?}; \
             choose another prefix, or upgrade this node, or delete the key"
        )
    })
}

fn parse(bytes: &[u8]) -> anyhow::Result<Record> {
    let Versioned { version } = serde_json::from_slice(bytes).context("it is no JSON of ogha")?;
    ensure!(version == VERSION, "its version is {version}, and this node knows {VERSION}");
    let value: Value = serde_json::from_slice(bytes).context("a field is missing or wrong")?;
    let mut in_sync = NodeSet::default();
    for node in &value.in_sync {
        ensure!(in_sync.insert(node.id()?), "it has more nodes than an instance may have");
    }
    Ok(Record { term: Term::new(value.term), primary: value.primary.id()?, in_sync })
}

impl Node {
    fn id(&self) -> anyhow::Result<NodeId> {
        let digits = self.id.len() == 16 && !self.id.starts_with('+');
        let number = u64::from_str_radix(&self.id, 16).ok().filter(|_| digits);
        let Some(id) = number.and_then(NodeId::from_wire) else {
            bail!("{:?} is no node's id", self.id);
        };
        // Somebody has edited one and not the other: which is meant, nobody knows.
        if let Some(name) = self.name.as_deref().filter(|name| NodeId::of(name) != id) {
            bail!("the id {} is not that of {name:?}, which is {}", self.id, NodeId::of(name));
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        let nodes = ["db1", "db2"].map(|name| (NodeId::of(name), name.to_owned()));
        Names { nodes: nodes.into() }
    }

    fn record(term: u64, primary: &str, in_sync: &[&str]) -> Record {
        let nodes: Vec<_> = in_sync.iter().map(|name| NodeId::of(name)).collect();
        let in_sync = NodeSet::new(&nodes).unwrap();
        Record { term: Term::new(term), primary: NodeId::of(primary), in_sync }
    }

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    #[test]
    fn a_record_is_a_line_that_a_person_can_read() {
        let line = encode(&record(7, "db1", &["db1", "db2"]), &names(), at()).unwrap();
        let (a, b) = (NodeId::of("db1"), NodeId::of("db2"));
        let node = |name: &str, id: NodeId| format!("{{\"name\":\"{name}\",\"id\":\"{id}\"}}");
        let mut in_sync = [(a, node("db1", a)), (b, node("db2", b))];
        in_sync.sort_by_key(|(id, _)| id.get());
        let expected = format!(
            "{{\"version\":1,\"term\":7,\"primary\":{},\"in_sync\":[{},{}],\"written_by\":\"db1\",\
             \"written_at\":\"2023-11-14T22:13:20Z\"}}",
            node("db1", a),
            in_sync[0].1,
            in_sync[1].1,
        );
        assert_eq!(line, expected);
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_node_that_the_configuration_does_not_have_goes_by_its_id() {
        let stranger = record(3, "elsewhere", &["db2", "elsewhere"]);
        let line = encode(&stranger, &names(), at()).unwrap();
        assert!(line.contains("\"name\":null"), "{line}");
        assert_eq!(decode(line.as_bytes(), None).unwrap(), stranger);
    }

    #[test]
    fn what_is_not_ours_is_named_and_not_understood() {
        let good = encode(&record(7, "db1", &["db1"]), &names(), at()).unwrap();
        let other = NodeId::of("db2").to_string();
        for (text, said) in [
            ("hello".to_owned(), "no JSON of ogha"),
            (String::new(), "no JSON of ogha"),
            ("{\"leader\":\"db1\"}".to_owned(), "no JSON of ogha"),
            (good.replace("\"version\":1", "\"version\":2"), "its version is 2"),
            (good.replace("\"term\":7", "\"term\":-7"), "a field is missing or wrong"),
            (good.replace("\"term\":7,", ""), "a field is missing or wrong"),
            (good.replace(&NodeId::of("db1").to_string(), "12"), "\"12\" is no node's id"),
            (good.replace(&NodeId::of("db1").to_string(), "0000000000000000"), "no node's id"),
            (good.replace(&NodeId::of("db1").to_string(), &other), "is not that of \"db1\""),
        ] {
            let error = format!("{:#}", decode(text.as_bytes(), None).unwrap_err());
            assert!(error.contains(said) && error.contains("is left alone"), "{text}: {error}");
        }
        let long = format!("{:#}", decode("x".repeat(5000).as_bytes(), None).unwrap_err());
        assert!(long.len() < 600, "{long}");
    }

    #[test]
    fn a_term_that_leaps_is_no_ruling() {
        let line = |term| encode(&record(term, "db1", &["db1"]), &names(), at()).unwrap();
        for (term, known) in [
            (u64::MAX, None),
            (u64::MAX, Some(7)),
            (8 + Term::LEAP, Some(7)),
            (Term::LEAP + 1, Some(0)),
        ] {
            let error = decode(line(term).as_bytes(), known.map(Term::new)).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(&format!("has term {term}")), "{error}");
            assert!(error.contains("delete the key"), "{error}");
        }
        for (term, known) in [
            (7, None),
            (Term::LEAP + 8, None),
            (8, Some(7)),
            (7 + Term::LEAP, Some(7)),
            (1, Some(9)),
        ] {
            let read = decode(line(term).as_bytes(), known.map(Term::new)).unwrap();
            assert_eq!(read.term.get(), term);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(term: u64, primary in 1u64.., nodes in prop::collection::vec(1u64.., 0..8)) {
            let nodes: Vec<_> = nodes.into_iter().map(NodeId::new).collect();
            let in_sync = NodeSet::new(&nodes).unwrap();
            let record = Record { term: Term::new(term), primary: NodeId::new(primary), in_sync };
            let line = encode(&record, &names(), at()).unwrap();
            prop_assert_eq!(decode(line.as_bytes(), Some(record.term)).unwrap(), record);
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, None);
        }
    }
}
