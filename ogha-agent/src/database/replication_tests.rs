use super::*;

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

fn row(name: &str, client: Option<&str>, sync: &str, flush: u64) -> Row {
    Row {
        application_name: name.to_owned(),
        client: client.map(|client| client.parse().unwrap()),
        state: "streaming".to_owned(),
        sync: sync.to_owned(),
        flush: Some(Lsn::new(flush)),
    }
}

fn demand(names: &str) -> Demand {
    Demand { names: names.to_owned(), waits: true, server: Some(7) }
}

#[test]
fn a_row_is_known_by_any_address_of_its_peer_else_by_its_name() {
    let nodes = nodes();
    let of = |name, client| row(name, client, "async", 0).peer(&nodes).map(|peer| &*peer.name);
    assert_eq!(of("walreceiver", Some("198.51.100.12")), Some("db2"));
    assert_eq!(of("walreceiver", Some("::ffff:192.0.2.12")), Some("db2"));
    assert_eq!(of("db2", Some("fd00::3")), Some("db3"), "the address counts more");
    assert_eq!(of("db3", None), Some("db3"));
    assert_eq!(of("db3", Some("203.0.113.9")), Some("db3"));
    assert_eq!(of("walreceiver", Some("203.0.113.9")), None);
}

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
    assert_eq!(read("FIRST x (a)"), None);
    assert_eq!(read("\"a"), None);
}

#[test]
fn what_is_demanded_is_read_back() {
    assert_eq!(super::demand(&[]), "");
    let names = ["db2".to_owned(), "odd\"name".to_owned()];
    let text = super::demand(&names);
    assert_eq!(text, "FIRST 2 (\"db2\",\"odd\"\"name\")");
    assert_eq!(Names::parse(&text), Some(Names { count: 2, names: names.into() }));
}

#[test]
fn commits_wait_for_a_standby_only_if_all_that_are_listed_must_confirm() {
    let nodes = nodes();
    let rows = [row("db2", None, "sync", 100), row("db3", None, "potential", 100)];
    let waits = |names: &str, rows: &[Row]| {
        let demand = demand(names);
        let seen = Confirmations::default().look(&nodes, rows, demand, Some(Lsn::new(100)), true);
        (seen[0].waits, seen[1].waits)
    };
    assert_eq!(
        waits("FIRST 1 (\"DB2\")", &rows),
        (true, false),
        "the case of letters is no matter"
    );
    assert_eq!(waits("FIRST 1 (db2,db3)", &rows), (false, false), "db3 may take its place");
    assert_eq!(waits("*", &rows), (false, false), "anybody may take its place");
    let quorum = [row("db2", None, "quorum", 100), row("db3", None, "quorum", 100)];
    assert_eq!(waits("ANY 2 (db2,db3)", &quorum), (true, true));
    assert_eq!(waits("ANY 1 (db2,db3)", &quorum), (false, false));
    let off = Demand { waits: false, ..demand("FIRST 1 (db2)") };
    let seen = Confirmations::default().look(&nodes, &rows, off, Some(Lsn::new(100)), true);
    assert!(!seen[0].waits, "synchronous_commit = off");
    let shared =
        [row("db2", Some("192.0.2.12"), "sync", 9), row("db2", Some("fd00::3"), "potential", 9)];
    assert_eq!(waits("FIRST 1 (db2)", &shared), (false, false));
}

#[test]
fn confirmed_is_what_has_passed_the_end_of_the_log_at_the_begin_of_the_demand() {
    let nodes = nodes();
    let known = Confirmations::default();
    let look = |names: &str, end, settled, flush| {
        let rows = [row("db2", None, "sync", flush)];
        let seen = known.look(&nodes, &rows, demand(names), Some(Lsn::new(end)), settled);
        (seen[0].waits, seen[0].confirmed, seen[0].lag)
    };
    let names = "FIRST 1 (db2)";
    assert_eq!(look(names, 1000, false, 1000), (true, false, Some(0)), "not in force for all yet");
    assert_eq!(look(names, 1200, true, 1200), (true, false, Some(0)), "in force, but since when");
    assert_eq!(look(names, 1500, true, 1200), (true, false, Some(300)));
    assert_eq!(look(names, 2000, false, 1499), (true, false, Some(501)));
    assert_eq!(
        look(names, 3000, true, 1500),
        (true, true, Some(1500)),
        "commits wait for the rest"
    );
    let other = "FIRST 1 (\"db2\") ";
    assert_eq!(look(other, 4000, true, 4000), (true, false, Some(0)), "a new demand");
    assert_eq!(look(other, 4000, true, 4000), (true, true, Some(0)));
    known.forget();
    assert_eq!(look(other, 5000, true, 5000), (true, false, Some(0)));
    let seen = known.look(&nodes, &[], demand(other), Some(Lsn::new(5000)), true);
    assert_eq!((seen[0].confirmed, seen[0].state.as_str()), (false, "absent"));
}

#[test]
fn peers_are_demanded_by_the_names_that_they_show() {
    let nodes = nodes();
    let wanted = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let rows = [row("walreceiver", Some("192.0.2.12"), "async", 1)];
    let names = application_names(&wanted(&["db2", "db3"]), &nodes, &rows).unwrap();
    assert_eq!(names, ["walreceiver", "db3"], "db3 is absent");

    let both = [rows[0].clone(), row("WALreceiver", Some("fd00::3"), "async", 1)];
    let error = application_names(&wanted(&["db2"]), &nodes, &both).unwrap_err().to_string();
    assert!(error.contains("another standby") && error.contains("set application_name"), "{error}");

    let several = [rows[0].clone(), row("pg_receivewal", Some("192.0.2.12"), "async", 1)];
    let error = application_names(&wanted(&["db2"]), &nodes, &several).unwrap_err().to_string();
    assert!(error.contains("several connections"), "{error}");
    let backup = Row { state: "backup".to_owned(), ..several[1].clone() };
    let rows = [rows[0].clone(), backup];
    assert_eq!(application_names(&wanted(&["db2"]), &nodes, &rows).unwrap(), ["walreceiver"]);
    assert!(application_names(&wanted(&["db9"]), &nodes, &rows).is_err());
}
