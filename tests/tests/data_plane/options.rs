//! Packets with IP options, with extension headers, and in fragments.

use std::{
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use ogha_common::maps::PortCounters;

use crate::{
    frames::{self, ACK, PSH, RST, SYN, Segment},
    stage::{INSTANCE, PORT, Stage, Version, closed, lapsed, open},
    test_run::{DROP, PASS, RETURN, TestRun},
    wire::{GENEROUS, Wire},
};

on_both_versions!(
    options_and_fragments_come_in_unharmed,
    options_and_fragments_leave_unharmed,
    a_shut_gate_stops_fragments_in_both_directions,
    the_first_fragment_is_a_segment_like_any,
);

/// More than fits into one frame.
const LARGE: usize = 4000;
const OTHER_PORT: u16 = 5353;

fn counters(stage: &Stage) -> PortCounters {
    stage.kernel.port_counters(INSTANCE).unwrap()
}

fn bind(stage: &Stage, address: IpAddr) -> UdpSocket {
    let socket = stage.node.namespace().enter(|| UdpSocket::bind((address, OTHER_PORT)).unwrap());
    socket.set_read_timeout(Some(GENEROUS)).unwrap();
    socket
}

/// What the socket gets next.
fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2 * LARGE];
    let length = socket.recv(&mut buffer).expect("nothing has come");
    buffer.truncate(length);
    buffer
}

/// A client sends datagrams to the VIP, whose gate is open, and to the node's own address, while it is
/// open and while it is shut: with options and in pieces, in order and not. All of it comes through
/// as it was sent.
fn options_and_fragments_come_in_unharmed(version: Version) {
    let mut stage = Stage::on(version, "options-in");
    stage.add_vip();
    let client = stage.client_end();
    let large: Vec<u8> = (0..LARGE).map(|index| index as u8).collect();
    let cases =
        [(open(), stage.vip_end()), (open(), stage.node_end()), (closed(), stage.node_end())];
    for (gate, to) in cases {
        stage.gate(gate);
        let socket = bind(&stage, to.address);
        stage.wire.send(&frames::datagram_with_options(client, to, OTHER_PORT, 3));
        assert_eq!(receive(&socket), b"ping");
        let [first, rest] =
            frames::fragments(&frames::datagram(client, to, OTHER_PORT, &large), 1400);
        let [second, third] = frames::cut_again(&rest, 1400);
        for order in [[&first, &second, &third], [&third, &first, &second]] {
            for fragment in order {
                stage.wire.send(fragment);
            }
            assert_eq!(receive(&socket), large, "{gate:?}");
        }
    }
    assert_eq!(counters(&stage), PortCounters::default());
}

/// The node sends the same, from the VIP and from its own address: its stack makes the options and the
/// pieces, and the client's puts them together.
fn options_and_fragments_leave_unharmed(version: Version) {
    let mut stage = Stage::on(version, "options-out");
    stage.add_vip();
    let client = (stage.client_address(), OTHER_PORT);
    let heard = stage.client.namespace().enter(|| UdpSocket::bind(client).unwrap());
    heard.set_read_timeout(Some(GENEROUS)).unwrap();
    let large: Vec<u8> = (0..LARGE).map(|index| index as u8).collect();
    let cases =
        [(open(), stage.vip), (open(), stage.node_address()), (lapsed(), stage.node_address())];
    for (gate, from) in cases {
        stage.gate(gate);
        let socket = bind(&stage, from);
        socket.send_to(&large, client).unwrap();
        assert_eq!(receive(&heard), large, "{gate:?}");
        add_options(&socket, version);
        for payload in [&b"pong"[..], &large] {
            socket.send_to(payload, client).unwrap();
            assert_eq!(receive(&heard), payload, "{gate:?}");
        }
    }
    assert_eq!(counters(&stage), PortCounters::default());
}

/// What the socket sends has IP options from now on, that mean nothing.
fn add_options(socket: &UdpSocket, version: Version) {
    let (level, name, options) = match version {
        Version::V4 => (libc::IPPROTO_IP, libc::IP_OPTIONS, vec![1; 8]),
        // A header of options for the destination: what follows, its length, PadN (RFC 8200 section
        // 4.2). The kernel fills in the first.
        Version::V6 => (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, vec![0, 0, 1, 4, 0, 0, 0, 0]),
    };
    // SAFETY: the options live as long as the call, and are as long as is said.
    let result = unsafe {
        let length = options.len() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, options.as_ptr().cast(), length)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The gate has lapsed or closed: the pieces of a packet for the VIP do not come in, whichever, and those
/// of one from it do not leave.
fn a_shut_gate_stops_fragments_in_both_directions(version: Version) {
    let mut stage = Stage::on(version, "options-shut");
    let node = Wire::open(&stage.node);
    let (client, vip) = (stage.client_end(), stage.vip_end());
    let run = TestRun::ingress(&stage.node);
    let question = frames::datagram(client, vip, OTHER_PORT, &[1; 100]);
    let answer = frames::datagram(vip, client, OTHER_PORT, &[1; 100]);
    let mut dropped = 0;
    for gate in [closed(), lapsed()] {
        stage.gate(gate);
        let options = frames::datagram_with_options(client, vip, OTHER_PORT, 3);
        for frame in frames::fragments(&question, 64).iter().chain([&options]) {
            assert_eq!(run.on(frame).0, DROP);
        }
        let options = frames::datagram_with_options(vip, client, OTHER_PORT, 3);
        for frame in frames::fragments(&answer, 64).iter().chain([&options]) {
            let error = node.try_send(frame).map_err(|error| error.raw_os_error());
            assert_eq!(error, Err(Some(libc::ENOBUFS)));
        }
        dropped += 6;
        assert_eq!(counters(&stage), PortCounters { dropped, ..PortCounters::default() });
    }
}

/// A segment in two pieces: the first has the header, and is counted, and rejected by a closed gate;
/// the second has none, and is not.
fn the_first_fragment_is_a_segment_like_any(version: Version) {
    let mut stage = Stage::on(version, "options-first");
    let (client, vip) = (stage.client_end(), stage.vip_end());
    let run = TestRun::ingress(&stage.node);
    let data = Segment {
        source: 40_000,
        destination: PORT,
        flags: ACK | PSH,
        payload: vec![7; 100],
        ..Segment::default()
    };
    let [first, second] = frames::fragments(&data.packet(client, vip), 40);
    stage.gate(open());
    assert_eq!(run.on(&first), (PASS, first.clone()));
    assert_eq!(run.on(&second), (PASS, second.clone()));
    assert_eq!(counters(&stage).data_in, 1);
    stage.gate(closed());
    let (verdict, reset) = run.on(&first);
    assert_eq!((verdict, Segment::read(&reset).unwrap().2.flags), (RETURN, RST));
    assert_eq!(run.on(&second).0, DROP);
    let seen = counters(&stage);
    assert_eq!((seen.data_in, seen.rejected, seen.dropped), (2, 1, 1));
}

/// A SYN behind each extension header of RFC 8200, and behind several: it is found, counted and
/// rejected. Behind one that nobody knows, behind too many, and where the headers end early, there is no
/// segment to answer: a shut gate drops it, and elsewhere it passes as it is.
#[test]
fn extension_headers_are_looked_behind() {
    let mut stage = Stage::on(Version::V6, "options-walk");
    let run = TestRun::ingress(&stage.node);
    let syn = Segment { source: 40_000, destination: PORT, flags: SYN, ..Segment::default() };
    // As long as it is, it need not say so: only the host's stack reads the options themselves.
    let padding = |kind: u8, words: u8| (kind, vec![0, words - 1]);
    let fragment = (44, vec![0, 0, 0, 0, 0, 0, 0, 9]);
    let authentication = (51, vec![0, 0]);
    let found = [
        vec![padding(0, 1)],
        vec![padding(43, 3)],
        vec![padding(60, 2)],
        vec![fragment.clone()],
        vec![padding(0, 1), padding(60, 1), padding(43, 1), fragment.clone(), padding(60, 1)],
        vec![padding(60, 100)],
    ];
    let lost =
        [vec![authentication], vec![padding(60, 1); 6], vec![padding(0, 1), (60, vec![0, 200])]];
    let (client, vip, node) = (stage.client_end(), stage.vip_end(), stage.node_end());
    let behind =
        |headers: &[(u8, Vec<u8>)], to| frames::behind_extensions(&syn.packet(client, to), headers);
    stage.gate(closed());
    for (count, headers) in (1..).zip(&found) {
        let (verdict, reset) = run.on(&behind(headers, vip));
        assert_eq!(verdict, RETURN, "{headers:?}");
        let (_, _, reset) = Segment::read(&reset).unwrap();
        assert_eq!((reset.flags, reset.acknowledgement), (RST | ACK, 1), "{headers:?}");
        assert_eq!((counters(&stage).syn_in, counters(&stage).rejected), (count, count));
    }
    let before = counters(&stage);
    for (count, headers) in (1..).zip(&lost) {
        assert_eq!(run.on(&behind(headers, vip)).0, DROP, "{headers:?}");
        let other = behind(headers, node);
        assert_eq!(run.on(&other), (PASS, other), "{headers:?}");
        assert_eq!(counters(&stage), PortCounters { dropped: count, ..before });
    }
    stage.gate(open());
    for headers in found.iter().chain(&lost) {
        let frame = behind(headers, vip);
        assert_eq!(run.on(&frame), (PASS, frame), "{headers:?}");
    }
}
