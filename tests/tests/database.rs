//! The lab's databases, writer and watcher, without agents.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{net::IpAddr, time::Duration};

use ogha_tests::lab::{
    Writer,
    client::{self, Answer},
    clock, floor,
    pair::{CLIENT, Databases, FIRST, GENEROUS},
    postgres::PORT,
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
