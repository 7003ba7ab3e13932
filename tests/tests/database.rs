//! The lab's databases, writer and watcher, without agents.

use std::{net::IpAddr, time::Duration};

use ogha_agent::database::{self, DatabaseKind, Nodes, Observation, Peer, Server, Step};
use ogha_tests::lab::{
    Postgres, Writer,
    client::{self, Answer},
    clock, floor,
    pair::{CLIENT, Databases, FIRST, GENEROUS, SECOND},
    postgres::{BIN, PORT},
    writer::Patience,
};

const OFTEN: Duration = Duration::from_millis(5);

/// A client writes to the primary; every acknowledged write is on the standby as well. The
/// primary is killed, the standby promoted: what was acknowledged is still there.
#[test]
fn what_is_acknowledged_survives_the_primary() {
    let databases = Databases::start("survive").unwrap();
    let (primary, standby) = (&databases.primary, &databases.standby);
    let writer = Writer::start(&databases.client, FIRST.into(), Patience::default());
    writer.wait_for(50, GENEROUS).unwrap();
    assert!(standby.is_in_recovery().unwrap());
    primary.kill().unwrap();
    let record = writer.stop().unwrap();
    assert!(record.acknowledged.len() >= 50);
    assert!(record.acknowledged.is_sorted_by_key(|write| (write.at, write.id)));
    standby.session().unwrap().rows("select pg_promote()").unwrap();
    assert_eq!(record.lost(standby).unwrap(), Vec::<i64>::new());
}

/// The primary hangs: its port still accepts, nothing is acknowledged. It goes on, and so does
/// the writer; the outage is about as long as the hang.
#[test]
fn a_paused_database_listens_and_says_nothing() {
    let databases = Databases::start("pause").unwrap();
    let primary = &databases.primary;
    let writer = Writer::start(&databases.client, FIRST.into(), Patience::default());
    writer.wait_for(10, GENEROUS).unwrap();
    let fault = clock::now();
    primary.pause().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let server = (IpAddr::V4(FIRST), PORT).into();
    assert_eq!(client::connect(&databases.client, server, GENEROUS), Answer::Accepted);
    primary.resume().unwrap();
    writer.wait_for(10, GENEROUS).unwrap();
    let outage = writer.stop().unwrap().outage(fault).unwrap();
    assert!(outage >= Duration::from_millis(450), "{outage:?}");
}

/// The primary stops: its port refuses. Its host loses its power: nobody answers, not even ARP.
#[test]
fn a_stopped_database_refuses_and_a_dark_host_is_silent() {
    let databases = Databases::start("dark").unwrap();
    let Databases { primary, client, .. } = &databases;
    let server = (IpAddr::V4(FIRST), PORT).into();
    assert_eq!(client::connect(client, server, GENEROUS), Answer::Accepted);
    let mac = primary.host().mac();
    assert_eq!(client::neighbour(client, FIRST.into()).unwrap(), Some(mac));
    assert_eq!(client::who_has(client, FIRST, Duration::from_millis(300)).unwrap(), [mac]);
    assert_eq!(client::neighbour(client, CLIENT.into()).unwrap(), None);
    primary.stop().unwrap();
    assert_eq!(client::connect(client, server, GENEROUS), Answer::Refused);
    primary.host().power_off().unwrap();
    let moment = Duration::from_millis(300);
    assert_eq!(client::connect(client, server, moment), Answer::Silence);
    assert!(client::who_has(client, FIRST, moment).unwrap().is_empty());
    primary.host().power_on().unwrap();
    primary.start().unwrap();
    clock::wait_until("the standby to stream again", GENEROUS, OFTEN, || {
        primary.wait_for_standby(databases.standby.host().name()).map(Some)
    })
    .unwrap();
}

/// The floor can be measured, and is a time that a promotion may take.
#[test]
fn a_promotion_alone_takes_a_moment() {
    let floor = floor::promotion_alone().unwrap();
    assert!(floor > Duration::from_millis(1) && floor < GENEROUS, "{floor:?}");
    println!("{floor:?}");
}

/// The driver knows peers by their addresses, whatever their standbys call themselves: whom a primary
/// sends to and waits for, and whom a standby receives from.
#[test]
fn peers_are_known_by_their_addresses() {
    let databases = Databases::start("peers").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = |database: &Postgres, name: &str, address| {
        let server = Server {
            port: PORT,
            data_dir: database.data_dir(),
            user: "postgres".to_owned(),
            bin_dir: Some(BIN.into()),
            socket_dir: Some(database.socket_dir()),
            dbname: "postgres".to_owned(),
            unit: None,
        };
        let peer = Peer { name: name.to_owned(), addresses: vec![IpAddr::V4(address)], port: PORT };
        let nodes = Nodes { own: "own".to_owned(), peers: vec![peer] };
        runtime.block_on(database::open(&DatabaseKind::Postgresql(server), nodes)).unwrap()
    };
    let first = open(&databases.primary, "second", SECOND);
    let second = open(&databases.standby, "first", FIRST);

    let wait_for = Step::Synchronize(vec!["second".to_owned()]);
    runtime.block_on(first.perform(wait_for)).unwrap();
    let names = databases.primary.session().unwrap().value("show synchronous_standby_names");
    let called = databases.standby.host().name();
    assert_eq!(names.unwrap(), format!("FIRST 1 (\"{called}\")"), "by the name that it shows");
    let confirmed = |seen: &Observation| {
        let peer = &seen.replication[0];
        peer.peer == "second" && peer.streaming && peer.awaited && peer.confirmed
    };
    clock::wait_until("the standby to have confirmed", GENEROUS, OFTEN, || {
        Ok(confirmed(&runtime.block_on(first.observe())).then_some(()))
    })
    .unwrap();

    let upstream = runtime.block_on(second.observe()).upstream.unwrap();
    assert_eq!((upstream.peer.as_deref(), upstream.streaming), (Some("first"), true));
    runtime.block_on(second.perform(Step::Follow("first".to_owned()))).unwrap();
    let seen = || databases.primary.wait_for_standby("own").map(Some);
    runtime.block_on(first.perform(Step::Synchronize(vec!["second".to_owned()]))).unwrap();
    clock::wait_until("the standby to call itself by its node", GENEROUS, OFTEN, seen).unwrap();
}
