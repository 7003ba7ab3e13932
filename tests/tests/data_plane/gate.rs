//! TCP and the gate.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use ogha_common::maps::PortCounters;
use ogha_tests::lab::clock;

use crate::{
    XDP_IS_TAKEN,
    frames::{self, ACK, End, FIN, PSH, RST, SYN, Segment},
    stage::{INSTANCE, PORT, Stage, Version, claimed, closed, know, lapsed, open},
    wire::{GENEROUS, Wire},
};

on_both_versions!(
    a_closed_gate_refuses_connections_at_once,
    the_reset_follows_the_rfc,
    a_closed_gate_lets_nothing_else_in,
    a_flooded_segment_of_another_host_is_not_answered,
    a_lapsed_gate_is_silent,
    counters_are_what_was_sent,
    an_established_connection_ends_with_the_gate,
    a_bulk_load_ends_with_the_gate,
    a_closed_gate_lets_the_host_end_its_connections,
);

/// How long a connection may take to be refused: far less than the second after which a client
/// repeats a SYN that nobody answered.
/// Far less than a client waits whom nobody refuses, however busy the machine. That nothing was sent
/// twice is what the counters tell.
const AT_ONCE: Duration = Duration::from_secs(20);
const CLIENT_PORT: u16 = 40_000;

fn counters(stage: &Stage) -> PortCounters {
    stage.kernel.port_counters(INSTANCE).unwrap()
}

/// The counters without their times.
fn numbers(stage: &Stage) -> PortCounters {
    PortCounters {
        syn_in_last_ns: 0,
        synack_out_last_ns: 0,
        rst_in_last_ns: 0,
        rst_out_last_ns: 0,
        data_in_last_ns: 0,
        data_out_last_ns: 0,
        ..counters(stage)
    }
}

/// The VIP on the node's interface, and a listener there; the client knows the node's MAC, as if
/// it had asked before.
fn with_listener(stage: &Stage) -> TcpListener {
    stage.add_vip();
    know(&stage.client, stage.vip_end());
    stage.node.namespace().enter(|| TcpListener::bind((stage.unspecified(), PORT)).unwrap())
}

fn connect(stage: &Stage, address: IpAddr) -> std::io::Result<TcpStream> {
    let address = (address, PORT).into();
    stage.client.namespace().enter(|| TcpStream::connect_timeout(&address, GENEROUS))
}

fn syn() -> Segment {
    Segment {
        source: CLIENT_PORT,
        destination: PORT,
        sequence: 1000,
        flags: SYN,
        ..Segment::default()
    }
}

/// What the VIP says to the client's port.
fn from_vip(stage: &Stage) -> impl Fn(&[u8]) -> Option<(Vec<u8>, Segment)> {
    let (client, vip) = (stage.client_address(), stage.vip);
    move |frame| {
        let (from, to, segment) = Segment::read(frame)?;
        (from == vip && to == client).then(|| (frame.to_vec(), segment))
    }
}

/// A client connects to the VIP where the database listens, through a gate that is closed, and
/// through one whose takeover is under way: it is refused at once, and the database sees nothing.
/// Once the gate is open, the same connection succeeds.
fn a_closed_gate_refuses_connections_at_once(version: Version) {
    let mut stage = Stage::on(version, "gate-refuse");
    let listener = with_listener(&stage);
    for (times, gate) in [(1, closed()), (2, claimed())] {
        stage.gate(gate);
        let before = Instant::now();
        let error = connect(&stage, stage.vip).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{gate:?}");
        assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
        let expected = PortCounters {
            syn_in: times,
            rst_out: times,
            rejected: times,
            ..PortCounters::default()
        };
        assert_eq!(numbers(&stage), expected);
    }
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    stage.gate(open());
    connect(&stage, stage.vip).unwrap();
}

/// Segments of every kind meet a closed gate: each gets the RST of RFC 9293 section 3.5.2, with
/// right checksums, whatever its options; an RST gets nothing.
fn the_reset_follows_the_rfc(version: Version) {
    let stage = Stage::on(version, "gate-reset");
    let data =
        Segment { flags: ACK | PSH, acknowledgement: 0xffff_fff0, payload: vec![7; 1000], ..syn() };
    let reset = |sequence, acknowledgement, flags| Segment {
        source: PORT,
        destination: CLIENT_PORT,
        sequence,
        acknowledgement,
        flags,
        ..Segment::default()
    };
    let cases = [
        (syn(), reset(0, 1001, RST | ACK)),
        (Segment { tcp_options: 5, ip_options: 3, ..syn() }, reset(0, 1001, RST | ACK)),
        (Segment { sequence: u32::MAX, ..syn() }, reset(0, 0, RST | ACK)),
        (Segment { payload: vec![1, 2, 3], ..syn() }, reset(0, 1004, RST | ACK)),
        (Segment { flags: FIN, payload: vec![1, 2], ..syn() }, reset(0, 1003, RST | ACK)),
        (Segment { flags: SYN | ACK, acknowledgement: 77, ..syn() }, reset(77, 0, RST)),
        (data.clone(), reset(0xffff_fff0, 0, RST)),
        (Segment { tcp_options: 10, ip_options: 10, ..data }, reset(0xffff_fff0, 0, RST)),
    ];
    for (index, (segment, expected)) in cases.iter().enumerate() {
        let ignored = Segment { flags: RST, sequence: 5555, ..syn() };
        stage.wire.send(&ignored.packet(stage.client_end(), stage.vip_end()));
        stage.wire.send(&segment.packet(stage.client_end(), stage.vip_end()));
        let (frame, reply) = stage.wire.expect("the RST", from_vip(&stage));
        assert_eq!(reply, *expected, "answer to {segment:?}");
        assert_eq!(frame[..12], [stage.client.mac(), stage.node.mac()].concat());
        let length = if version == Version::V4 { 54 } else { 74 };
        // The kernel may keep the length of the segment's headers at TCX; the rest is padding.
        assert!(frame.len() == length || XDP_IS_TAKEN && segment.ip_options > 0, "{frame:02x?}");
        let (right, by_hardware) = frames::tcp_checksums(&frame);
        assert_eq!(right, by_hardware, "the checksum would be broken by hardware");
        let seen = numbers(&stage);
        assert_eq!(seen.rejected, index as u64 + 1);
        assert_eq!((seen.rst_in, seen.dropped), (seen.rejected, seen.rejected));
    }
}

/// Packets for the VIP that are no segment of the instance's port: another port is rejected too
/// but not counted as the port's RST; UDP and later fragments are dropped.
fn a_closed_gate_lets_nothing_else_in(version: Version) {
    let stage = Stage::on(version, "gate-else");
    let (client, vip) = (stage.client_end(), stage.vip_end());
    stage.add_vip();
    let bind = |address| stage.node.namespace().enter(|| UdpSocket::bind((address, PORT)).unwrap());
    let (at_vip, at_node) = (bind(stage.vip), bind(stage.node_address()));
    stage.wire.send(&frames::udp(client, vip, PORT));
    stage.wire.send(&frames::as_later_fragment(&syn().packet(client, vip)));
    stage.wire.send(&Segment { destination: 22, ..syn() }.packet(client, vip));
    let (_, reply) = stage.wire.expect("the RST", from_vip(&stage));
    assert_eq!((reply.source, reply.flags), (22, RST | ACK));
    let expected = PortCounters { rejected: 1, dropped: 2, ..PortCounters::default() };
    assert_eq!(numbers(&stage), expected);
    // A later packet to the node's own address has come through, and none of these before it.
    let own = stage.node_end();
    stage.wire.send(&frames::udp(client, own, PORT));
    at_node.set_read_timeout(Some(GENEROUS)).unwrap();
    assert_eq!(at_node.recv(&mut [0; 16]).unwrap(), 4);
    at_vip.set_nonblocking(true).unwrap();
    assert_eq!(at_vip.recv(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// A switch floods a segment for another host that holds the VIP: a node whose gate is closed
/// must not break that connection, and counts nothing.
fn a_flooded_segment_of_another_host_is_not_answered(version: Version) {
    let stage = Stage::on(version, "gate-flooded");
    let elsewhere = End { mac: [0x02, 0, 0, 0, 0, 0x42], address: stage.vip };
    stage.wire.send(&syn().packet(stage.client_end(), elsewhere));
    let own = Segment { source: CLIENT_PORT + 1, ..syn() };
    stage.wire.send(&own.packet(stage.client_end(), stage.vip_end()));
    let (_, first) = stage.wire.expect("the RST", from_vip(&stage));
    assert_eq!(first.destination, CLIENT_PORT + 1);
    assert_eq!(numbers(&stage).syn_in, 1);
    assert_eq!(numbers(&stage).rejected, 1);
    // Nor are those for a node's own address.
    let elsewhere = End { address: stage.node_address(), ..elsewhere };
    stage.wire.send(&syn().packet(stage.client_end(), elsewhere));
    stage.ask_for_vip();
    assert_eq!(numbers(&stage).syn_in, 1);
}

/// The lease has run out with nobody deciding: the VIP is a black hole, for SYN and for data, and
/// the node's own address is not touched.
fn a_lapsed_gate_is_silent(version: Version) {
    let mut stage = Stage::on(version, "gate-lapsed");
    let _listener = with_listener(&stage);
    know(&stage.client, stage.node_end());
    stage.gate(lapsed());
    let (client, vip) = (stage.client_end(), stage.vip_end());
    stage.wire.send(&syn().packet(client, vip));
    stage.wire.send(&Segment { flags: ACK | PSH, payload: vec![1], ..syn() }.packet(client, vip));
    stage.wire.send(&frames::udp(client, vip, PORT));
    connect(&stage, stage.node_address()).unwrap();
    let heard = stage.wire.expect("the handshake with the node's own address", |frame| {
        Segment::read(frame).map(|(from, _, _)| from)
    });
    assert_eq!(heard, stage.node_address());
    let seen = numbers(&stage);
    assert_eq!((seen.dropped, seen.rejected, seen.rst_out), (3, 0, 0));
    assert_eq!((seen.syn_in, seen.data_in, seen.synack_out), (2, 1, 1));
}

/// Clients come and go at the node's own address, with a listener and without one: the counters
/// are what was sent, and the times are those of the last.
fn counters_are_what_was_sent(version: Version) {
    const TIMES: u64 = 20;
    let stage = Stage::on(version, "gate-counters");
    let before = clock::now().ns();
    for _ in 0..TIMES {
        let error = connect(&stage, stage.node_address()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    let refused = PortCounters { syn_in: TIMES, rst_out: TIMES, ..PortCounters::default() };
    assert_eq!(numbers(&stage), refused);
    let listener = with_listener(&stage);
    for _ in 0..TIMES {
        let mut client = connect(&stage, stage.node_address()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"question").unwrap();
        let mut buffer = [0; 8];
        server.read_exact(&mut buffer).unwrap();
        server.write_all(b"answer").unwrap();
        drop(server);
        client.read_exact(&mut buffer[..6]).unwrap();
        assert_eq!(client.read(&mut buffer).unwrap(), 0);
    }
    let expected = PortCounters {
        syn_in: 2 * TIMES,
        rst_out: TIMES,
        synack_out: TIMES,
        data_in: TIMES,
        data_out: TIMES,
        fin_in: TIMES,
        fin_out: TIMES,
        ..PortCounters::default()
    };
    clock::wait_until("the last FIN", GENEROUS, Duration::from_millis(5), || {
        Ok((numbers(&stage).fin_in == TIMES).then_some(()))
    })
    .unwrap();
    assert_eq!(numbers(&stage), expected);
    let seen = counters(&stage);
    let times = [
        before,
        seen.rst_out_last_ns,
        seen.syn_in_last_ns,
        seen.synack_out_last_ns,
        seen.data_in_last_ns,
        seen.data_out_last_ns,
        clock::now().ns(),
    ];
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(seen.rst_in_last_ns, 0);
}

/// A connection through the VIP is open when the lease ends: the node may write what it likes,
/// nothing of it leaves. When the gate is closed instead, the client's next word gets an RST.
fn an_established_connection_ends_with_the_gate(version: Version) {
    let mut stage = Stage::on(version, "gate-egress");
    stage.gate(open());
    let listener = with_listener(&stage);
    let mut client = connect(&stage, stage.vip).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"question").unwrap();
    let mut buffer = [0; 8];
    server.read_exact(&mut buffer).unwrap();
    let through = numbers(&stage);
    assert_eq!((through.data_in, through.rejected, through.dropped), (1, 0, 0));

    stage.gate(lapsed());
    let silence = Wire::open(&stage.client);
    server.write_all(b"secret").unwrap();
    let marker = stage.node.namespace().enter(|| {
        let socket = UdpSocket::bind((stage.node_address(), 0)).unwrap();
        socket.send_to(b"marker", (stage.client_address(), 9)).unwrap();
        stage.node_address()
    });
    let first = silence.expect("the marker", |frame| {
        frames::read_ip(frame, 17).or_else(|| frames::read_ip(frame, 6)).map(|(from, _, _)| from)
    });
    assert_eq!(first, marker);
    assert!(numbers(&stage).dropped >= 1);
    assert_eq!(numbers(&stage).data_out, 0);

    stage.gate(closed());
    client.write_all(b"anybody?").unwrap();
    client.set_read_timeout(Some(GENEROUS)).unwrap();
    assert_eq!(client.read(&mut buffer).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(numbers(&stage).rejected >= 1);
}

/// The gate closes on a client in the middle of a large load, whose segments come in bundles of
/// many: it learns of it at once too.
fn a_bulk_load_ends_with_the_gate(version: Version) {
    let mut stage = Stage::on(version, "gate-bulk");
    stage.gate(open());
    let listener = with_listener(&stage);
    let mut client = connect(&stage, stage.vip).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let end = server.try_clone().unwrap();
    let sink = thread::spawn(move || std::io::copy(&mut server, &mut std::io::sink()));
    let block = vec![7; 1 << 20];
    for _ in 0..20 {
        client.write_all(&block).unwrap();
    }
    stage.gate(closed());
    let before = Instant::now();
    client.set_write_timeout(Some(GENEROUS)).unwrap();
    let error = (0..1000).find_map(|_| client.write_all(&block).err()).expect("an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    end.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(sink.join().unwrap().unwrap() > 0);
}

/// The gate has closed on open connections, and the database is stopped: what its host's stack
/// says to end them may leave. That is a FIN, and an RST where data is left unread.
fn a_closed_gate_lets_the_host_end_its_connections(version: Version) {
    let mut stage = Stage::on(version, "gate-end");
    let listener = with_listener(&stage);
    for unread in [false, true] {
        stage.gate(open());
        let mut client = connect(&stage, stage.vip).unwrap();
        let (server, _) = listener.accept().unwrap();
        if unread {
            client.write_all(b"question").unwrap();
            server.peek(&mut [0]).unwrap();
        }
        let wire = Wire::open(&stage.client);
        stage.gate(closed());
        drop(server);
        let (_, end) = wire.expect("the end of the connection", from_vip(&stage));
        assert_eq!(end.flags & (FIN | RST), if unread { RST } else { FIN }, "{end:?}");
    }
}
