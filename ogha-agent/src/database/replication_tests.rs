use std::time::{Duration, Instant};

use super::{
    super::{
        awaiting::{Answer, Awaiting},
        commits::{Commits, Refusal},
    },
    *,
};

fn nodes() -> Nodes {
    let peer = |name: &str, addresses: &[&str]| Peer {
        name: name.to_owned(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        port: 5432,
    };
    Nodes {
        own: "db1".to_owned(),
        peers: vec![peer("db2", &["192.0.2.12", "198.51.100.12"]), peer("db3", &["fd00::3"])],
    }
}

const DB2: Option<&str> = Some("192.0.2.12");
const DB3: Option<&str> = Some("fd00::3");
const STRANGER: Option<&str> = Some("203.0.113.9");

fn row(name: &str, client: Option<&str>, sync: &str, flush: u64) -> Row {
    Row {
        pid: format!("{name} at {client:?}"),
        application_name: name.to_owned(),
        client: client.map(|client| client.parse().unwrap()),
        state: "streaming".to_owned(),
        sync: sync.to_owned(),
        flush: Some(Lsn::new(flush)),
        replays: true,
        began: Some(1),
        replied: None,
    }
}

fn commits(names: &str) -> Commits {
    Commits { names: names.to_owned(), refusal: None, server: Some("7".to_owned()) }
}

/// A primary that is asked again and again.
struct Primary {
    awaiting: Awaiting,
    now: Instant,
    end: u64,
    settled: bool,
}

impl Primary {
    fn new() -> Self {
        Self { awaiting: Awaiting::default(), now: Instant::now(), end: 100, settled: true }
    }

    fn asked(&mut self, commits: Commits, rows: &[Row]) -> Vec<Replication> {
        let asked = self.now;
        self.now += Duration::from_millis(10);
        let (end, settled, came) = (Some(Lsn::new(self.end)), self.settled, self.now);
        let answer = Answer { rows, commits, end, settled, asked, came };
        self.awaiting.observe_once(&nodes(), &answer)
    }

    /// Asked often enough for all that asking can show.
    fn observe_once(&mut self, names: &str, rows: &[Row]) -> Vec<Replication> {
        self.asked(commits(names), rows);
        self.asked(commits(names), rows);
        self.asked(commits(names), rows)
    }
}

fn awaited(names: &str, rows: &[Row]) -> (bool, bool) {
    let seen = Primary::new().observe_once(names, rows);
    (seen[0].awaited, seen[1].awaited)
}

#[test]
fn a_row_is_the_peers_by_its_address_alone() {
    let nodes = nodes();
    let of = |name, client| row(name, client, "async", 0).peer(&nodes).map(|peer| &*peer.name);
    assert_eq!(of("walreceiver", Some("198.51.100.12")), Some("db2"));
    assert_eq!(of("walreceiver", Some("::ffff:192.0.2.12")), Some("db2"));
    assert_eq!(of("db2", DB3), Some("db3"));
    assert_eq!(of("db3", None), None);
    assert_eq!(of("db3", STRANGER), None);
    let mut behind_one = nodes.clone();
    behind_one.peers[1].addresses = behind_one.peers[0].addresses.clone();
    let of = |name| row(name, DB2, "async", 0).peer(&behind_one).map(|peer| &*peer.name);
    assert_eq!((of("db3"), of("db2"), of("x")), (Some("db3"), Some("db2"), Some("db2")));
    let mut nowhere = nodes;
    nowhere.peers[0].addresses.clear();
    let of = |name| row(name, None, "async", 0).peer(&nowhere).map(|peer| &*peer.name);
    assert_eq!((of("db2"), of("db3")), (Some("db2"), None));
}

#[test]
fn a_peer_is_awaited_only_if_all_that_are_listed_must_confirm() {
    let rows = [row("db2", DB2, "sync", 100), row("db3", DB3, "potential", 100)];
    let db2 = &rows[..1];
    assert_eq!(awaited("FIRST 1 (\"DB2\")", db2), (true, false), "the case is no matter");
    assert_eq!(awaited("FIRST 1 (db2,db3)", &rows), (false, false), "db3 may take its place");
    assert_eq!(awaited("*", &rows), (false, false), "anybody may take its place");
    assert_eq!(awaited("", &rows), (false, false), "that was reset by hand");
    assert_eq!(awaited("FIRST x (db2)", &rows), (false, false), "nobody knows what that means");
    let quorum = [row("db2", DB2, "quorum", 100), row("db3", DB3, "quorum", 100)];
    assert_eq!(awaited("ANY 2 (db2,db3)", &quorum), (true, true));
    assert_eq!(awaited("ANY 1 (db2,db3)", &quorum), (false, false));
    let uncounted = [row("db2", DB2, "async", 100)];
    assert_eq!(awaited("FIRST 1 (db2)", &uncounted), (false, false), "the server says so");
    let silent = [Row { flush: None, ..uncounted[0].clone() }];
    assert_eq!(awaited("FIRST 1 (db2)", &silent), (true, false), "it has confirmed nothing yet");
}

#[test]
fn sessions_that_wait_for_nobody_are_told() {
    let mut primary = Primary::new();
    let rows = [row("db2", DB2, "sync", 100)];
    assert!(primary.observe_once("db2", &rows)[0].awaited);
    let reason = "role batch has synchronous_commit = off".to_owned();
    let refusal = Some(Refusal::Session(reason));
    let off = Commits { refusal, ..commits("db2") };
    let seen = primary.asked(off, &rows);
    assert!(!seen[0].awaited && !seen[0].confirmed);
    let told = "streaming; commits do not wait for it: role batch has synchronous_commit = off";
    assert_eq!(seen[0].state, told);
}

#[test]
fn a_clone_with_the_same_name_confirms_in_its_place() {
    let mut primary = Primary::new();
    let own = row("db2", DB2, "sync", 100);
    assert!(primary.observe_once("db2", std::slice::from_ref(&own))[0].confirmed);
    let clone = row("DB2", STRANGER, "potential", 100);
    for rows in [vec![own.clone(), clone.clone()], vec![clone]] {
        let seen = primary.observe_once("db2", &rows);
        assert!(!seen[0].awaited && !seen[0].confirmed, "{seen:?}");
        assert!(seen[0].state.contains("203.0.113.9 calls itself \"db2\""), "{}", seen[0].state);
    }
    let others = primary.observe_once("db3", &[row("db3", None, "sync", 100)]);
    assert!(!others[1].awaited && !others[1].streaming, "not from its address: {others:?}");
    // Once the clone has gone, what was acknowledged meanwhile must be confirmed as well.
    primary.end = 200;
    let seen = primary.observe_once("db2", std::slice::from_ref(&own));
    assert!(seen[0].awaited && !seen[0].confirmed, "{seen:?}");
    assert!(primary.observe_once("db2", &[Row { flush: Some(Lsn::new(200)), ..own }])[0].confirmed);
}

#[test]
fn a_peer_whose_stream_is_cut_is_awaited_by_the_name_that_it_had() {
    let mut primary = Primary::new();
    let rows = [row("15/main", DB2, "sync", 100)];
    assert!(primary.observe_once("\"15/main\"", &rows)[0].awaited);
    let cut = primary.observe_once("\"15/main\"", &[]);
    assert!(cut[0].awaited && !cut[0].streaming && !cut[0].confirmed);
    assert_eq!((cut[0].state.as_str(), cut[0].lag), ("absent", None));
    assert!(!primary.observe_once("db2", &[])[0].awaited, "it was called otherwise");
    assert!(Primary::new().observe_once("db2", &[])[0].awaited, "nothing else is known of it");
    let stolen = primary.observe_once("\"15/main\"", &[row("15/main", DB3, "sync", 100)]);
    assert!(!stolen[0].awaited, "{stolen:?}");
}

#[test]
fn a_standby_that_was_renamed_is_awaited_no_more_until_it_is_named_anew() {
    let mut primary = Primary::new();
    let names = |primary: &Primary| primary.awaiting.names(&["db2".to_owned()], &nodes()).unwrap();
    assert_eq!(names(&primary), ["db2"], "nothing is known of it");
    primary.observe_once("", &[row("walreceiver", DB2, "async", 100)]);
    assert_eq!(names(&primary), ["walreceiver"]);
    assert!(
        primary.observe_once("walreceiver", &[row("walreceiver", DB2, "sync", 100)])[0].awaited
    );
    let renamed = primary.observe_once("walreceiver", &[row("db2", DB2, "async", 100)]);
    assert!(!renamed[0].awaited, "{renamed:?}");
    assert_eq!(names(&primary), ["db2"]);
    assert!(primary.observe_once("db2", &[row("db2", DB2, "sync", 100)])[0].awaited);
}

#[test]
fn a_broken_connection_is_known_by_its_silence() {
    let mut primary = Primary::new();
    let old = Row { pid: "1".to_owned(), ..row("db2", DB2, "sync", 100) };
    let new = Row { pid: "2".to_owned(), began: Some(2), ..row("db2", DB2, "potential", 150) };
    assert!(primary.observe_once("db2", std::slice::from_ref(&old))[0].awaited);
    let both = [old.clone(), Row { sync: "sync".to_owned(), ..new.clone() }];
    let seen = primary.observe_once("db2", &both);
    assert!(!seen[0].awaited, "it may be another program: {seen:?}");
    assert!(seen[0].state.contains("two connections"), "{}", seen[0].state);
    let error = primary.awaiting.names(&["db2".to_owned()], &nodes()).unwrap_err().to_string();
    assert!(error.contains("two connections") && error.contains("set application_name"), "{error}");
    primary.now += Duration::from_secs(2);
    assert!(primary.observe_once("db2", &both)[0].awaited, "nothing comes from it any more");
    let alive = [Row { flush: Some(Lsn::new(120)), ..old }, both[1].clone()];
    assert!(!primary.observe_once("db2", &alive)[0].awaited, "it lives");
    primary.now += Duration::from_secs(2);
    let idle = [Row { flush: Some(Lsn::new(150)), ..alive[0].clone() }, both[1].clone()];
    primary.observe_once("db2", &idle);
    primary.now += Duration::from_secs(2);
    assert!(!primary.observe_once("db2", &idle)[0].awaited, "it lacks nothing");
}

#[test]
fn what_only_keeps_wal_is_no_standby() {
    let keeper = Row { replays: false, ..row("db2", DB2, "sync", 100) };
    let seen = Primary::new().observe_once("db2", &[keeper]);
    assert!(!seen[0].awaited && !seen[0].streaming, "{seen:?}");
    let archive = Row { replays: false, ..row("pg_receivewal", DB2, "async", 100) };
    let backup = Row { state: "backup".to_owned(), ..row("db2", DB2, "async", 0) };
    let rows = [row("db2", DB2, "sync", 100), archive, backup];
    let rows: Vec<_> =
        rows.into_iter().enumerate().map(|(n, row)| Row { pid: n.to_string(), ..row }).collect();
    assert!(Primary::new().observe_once("db2", &rows)[0].confirmed);
}

#[test]
fn settings_are_believed_when_all_sessions_have_them() {
    let mut primary = Primary::new();
    let rows = [row("db2", DB2, "sync", 100)];
    primary.settled = false;
    assert!(!primary.observe_once("db2", &rows)[0].awaited);
    primary.settled = true;
    assert!(primary.observe_once("db2", &rows)[0].awaited);
    primary.settled = false;
    assert!(primary.observe_once("db2", &rows)[0].awaited, "a checkpoint takes nothing back");
    primary.settled = true;
    let early = primary.now;
    primary.now += Duration::from_millis(10);
    let mut answer = |asked| {
        primary.now += Duration::from_millis(10);
        let (end, came) = (Some(Lsn::new(100)), primary.now);
        let answer = Answer {
            rows: &rows,
            commits: commits("FIRST 1 (db2)"),
            end,
            settled: true,
            asked,
            came,
        };
        primary.awaiting.observe_once(&nodes(), &answer)[0].awaited
    };
    assert!(!answer(early), "new settings");
    assert!(!answer(early), "asked before they were seen");
    let later = early + Duration::from_secs(1);
    assert!(answer(later));
}

#[test]
fn confirmed_is_what_has_passed_the_end_of_wal_at_the_begin_of_the_wait() {
    let mut primary = Primary::new();
    let mut observe_once = |names: &str, end, settled, flush| {
        (primary.end, primary.settled) = (end, settled);
        let seen = primary.asked(commits(names), &[row("db2", DB2, "sync", flush)]);
        (seen[0].awaited, seen[0].confirmed, seen[0].lag)
    };
    let names = "FIRST 1 (db2)";
    assert_eq!(
        observe_once(names, 1000, true, 1000),
        (false, false, Some(0)),
        "not in force for all yet"
    );
    assert_eq!(
        observe_once(names, 1200, true, 1200),
        (true, false, Some(0)),
        "in force, but since when"
    );
    assert_eq!(observe_once(names, 1500, true, 1200), (true, false, Some(300)));
    assert_eq!(observe_once(names, 2000, false, 1499), (true, false, Some(501)));
    assert_eq!(
        observe_once(names, 3000, true, 1500),
        (true, true, Some(1500)),
        "commits wait for the rest"
    );
    let other = "FIRST 1 (\"db2\") ";
    assert_eq!(observe_once(other, 4000, true, 4000), (false, false, Some(0)), "new settings");
    observe_once(other, 4000, true, 4000);
    assert_eq!(observe_once(other, 4000, true, 4000), (true, true, Some(0)));
    primary.awaiting.forget();
    assert!(!primary.asked(commits(other), &[row("db2", DB2, "sync", 5000)])[0].awaited);
}

#[test]
fn names_that_do_not_tell_peers_apart_are_refused() {
    let mut primary = Primary::new();
    let both = [row("walreceiver", DB2, "async", 1), row("WALreceiver", DB3, "async", 1)];
    primary.observe_once("", &both);
    let names = |primary: &Primary, wanted: &[&str]| {
        let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
        primary.awaiting.names(&wanted, &nodes()).map_err(|error| error.to_string())
    };
    let error = names(&primary, &["db2"]).unwrap_err();
    assert!(error.contains("fd00::3 calls itself") && error.contains("set application"), "{error}");
    primary.observe_once("", &[row("*", DB2, "async", 1)]);
    assert!(names(&primary, &["db2"]).unwrap_err().contains("calls itself \"*\""));
    assert!(names(&primary, &["db9"]).is_err());
    primary.observe_once("", &[row("walreceiver", DB2, "async", 1)]);
    assert_eq!(names(&primary, &["db2"]).unwrap(), ["walreceiver"]);
    primary.observe_once("", &[]);
    let error = names(&primary, &["db2", "db3"]).unwrap_err();
    assert!(error.contains("another peer is called"), "{error}");
}
