//! Whatever a client without a login does to the port, and whatever load there is, no database is stopped.

use std::{io::Write as _, net::TcpStream, thread, time::Duration};

use ogha_tests::lab::{
    Pair,
    postgres::PORT,
    storm::{self, Form},
};

use crate::stage::{assert_untouched, pair};

/// Opens connections to the first node's database, from the client's host.
fn connect(pair: &Pair, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let address = (pair.nodes[0].host.address(), PORT).into();
    pair.client.namespace().enter(|| {
        let open = |_| {
            let mut stream =
                TcpStream::connect_timeout(&address, Duration::from_millis(20)).ok()?;
            stream.write_all(says).ok()?;
            Some(stream)
        };
        (0..count).filter_map(open).collect()
    })
}

/// Storms of half-started connections: the accept queue is full, and no check is answered.
#[test]
fn a_storm_of_half_started_connections_stops_nothing() {
    let pair = pair("hang-storm");
    let first = pair.nodes[0].host.address().into();
    let opened =
        storm::rage(&pair.client, first, Form::HalfPacket, Duration::from_secs(6)).unwrap();
    // The server takes them one by one, and the rest waits or is dropped by the kernel.
    assert!(opened > 100, "{opened} connections");
    assert_untouched(&pair);
}

/// The same in each form that a stranger has, for longer than any deadline.
#[test]
#[ignore = "slow: four storms"]
fn no_storm_of_strangers_stops_anything() {
    let pair = pair("hang-storms");
    let first = pair.nodes[0].host.address().into();
    for form in storm::FORMS {
        storm::rage(&pair.client, first, form, Duration::from_secs(12)).unwrap();
        assert_untouched(&pair);
    }
}

/// Clients that speak slowly, and clients that talk nonsense.
#[test]
fn slow_clients_and_garbage_stop_nothing() {
    let pair = pair("hang-slow");
    for _ in 0..3 {
        let slow = connect(&pair, 200, &[0]);
        let garbage = connect(&pair, 200, b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff");
        thread::sleep(Duration::from_secs(1));
        drop((slow, garbage));
    }
    assert_untouched(&pair);
}

/// All sessions are taken by clients that may log in: the checks' own sessions are kept.
#[test]
fn no_room_for_sessions_is_no_hang() {
    let pair = pair("hang-sessions");
    let database = &pair.nodes[0].database;
    let sessions: Vec<_> = (0..200).map_while(|_| database.session().ok()).collect();
    thread::sleep(Duration::from_secs(4));
    drop(sessions);
    assert_untouched(&pair);
}
