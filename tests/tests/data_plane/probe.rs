//! Probes: what the kernel answers, believes and refuses, with no agent there.

use std::{
    net::{TcpListener, TcpStream},
    time::Duration,
};

use ogha_common::{
    maps::{EVENT_PEER, Offer, Passage, ProbeCounters},
    units::{NodeId, Term, Vrid},
    wire::{
        probe::{self, KernelFacts, Phase, Probe, ProbeKind, Status},
        siphash,
    },
};
use ogha_tests::lab::clock;

use crate::{
    peer::{KEY, NODE, PEER, PROBES, Play, datagram, offer, serving, standby},
    stage::{INSTANCE, PORT, TERM, Version, open},
    test_run::{DROP, RETURN, TestRun},
};

on_both_versions!(
    a_host_answers_for_its_dead_agent,
    the_heartbeat_has_an_age,
    a_listener_that_goes_is_missing_in_the_next_reply,
    a_reply_is_written_down_and_absorbed,
    news_wake_the_agent,
    what_is_refused_moves_only_its_counter,
    a_flipped_bit_and_a_replay_are_refused,
    a_recording_takes_nobodys_place,
    other_datagrams_pass,
    random_datagrams_change_nothing,
);

const FACTS: KernelFacts = KernelFacts {
    listening: true,
    gate: Some(Passage::Closed),
    queue: 3,
    queue_limit: 128,
    exited: false,
    heartbeat_ms: 12,
};

/// The node's agent has been dead for five seconds, and no socket is bound to the port: the probe
/// is answered all the same, with what the agent said last, and with how long ago that was.
fn a_host_answers_for_its_dead_agent(version: Version) {
    let mut play = Play::on(version, "probe-dead");
    let five_seconds_ago = clock::now() - Duration::from_secs(5);
    let last = Offer { heartbeat_ns: five_seconds_ago.ns(), ..offer(&serving()) };
    play.stage.kernel.set_self(INSTANCE, last).unwrap();
    let before = clock::now().ns();
    let reply = play.ask();
    let after = clock::now().ns();
    assert_eq!((reply.kind, reply.node, reply.to), (ProbeKind::Reply, NODE, PEER));
    assert_eq!(reply.boot_id, [1; 16]);
    assert_eq!(reply.status, serving());
    assert!((before..after).contains(&reply.time_ns));
    let facts = reply.facts.expect("the kernel has filled them in");
    assert!((5_000..15_000).contains(&facts.heartbeat_ms), "{facts:?}");
    assert_eq!((facts.listening, facts.gate), (false, Some(Passage::Closed)));
    play.stage.gate(open());
    assert_eq!(play.ask().facts.unwrap().gate, Some(Passage::Open));
    let counters = ProbeCounters { probes: 2, answered: 2, ..ProbeCounters::default() };
    assert_eq!(play.counters(), counters);
    let known = play.known();
    assert_eq!(known.said.status(), Some(standby()));
    assert!(known.last_probe_ns > after && known.last_reply_ns == 0, "{known:?}");
}

/// An agent that never ran has no heartbeat, and one that runs has a young one.
fn the_heartbeat_has_an_age(version: Version) {
    let mut play = Play::on(version, "probe-heart");
    let never = Offer { heartbeat_ns: 0, ..offer(&serving()) };
    play.stage.kernel.set_self(INSTANCE, never).unwrap();
    assert_eq!(play.ask().facts.unwrap().heartbeat_ms, u32::MAX);
    play.stage.kernel.set_self(INSTANCE, offer(&serving())).unwrap();
    let age = play.ask().facts.unwrap().heartbeat_ms;
    assert!(age < 5_000, "{age} ms");
}

/// The database listens, and clients wait that it does not accept; then it is killed. Each reply
/// tells what is so at that instant.
fn a_listener_that_goes_is_missing_in_the_next_reply(version: Version) {
    let mut play = Play::on(version, "probe-listener");
    assert!(!play.ask().facts.unwrap().listening);
    let node = play.stage.node.namespace();
    let listener = node.enter(|| TcpListener::bind((play.stage.unspecified(), PORT)).unwrap());
    let idle = play.ask().facts.unwrap();
    assert!(idle.listening && idle.queue == 0 && idle.queue_limit > 0, "{idle:?}");
    let to = (play.stage.node_address(), PORT).into();
    let client = || TcpStream::connect_timeout(&to, Duration::from_secs(10)).unwrap();
    let waiting: Vec<_> = (0..3).map(|_| play.stage.client.namespace().enter(client)).collect();
    assert_eq!(play.ask().facts.unwrap().queue, 3);
    drop(listener);
    let gone = play.ask().facts.unwrap();
    assert!(!gone.listening && gone.queue == 0, "{gone:?}");
    drop(waiting);
}

/// The peer's kernel answers: the node's kernel writes it down, and no socket sees it.
fn a_reply_is_written_down_and_absorbed(version: Version) {
    let mut play = Play::on(version, "probe-reply");
    let bound = (play.stage.node_address(), PROBES);
    let own = play.stage.node.namespace().enter(|| std::net::UdpSocket::bind(bound).unwrap());
    own.set_nonblocking(true).unwrap();
    let reply = play.reply(FACTS);
    play.send(&reply);
    play.ask();
    let known = play.known();
    assert!(known.rtt_ns >= 1_000_000 && known.rtt_ns < 10_000_000_000, "{known:?}");
    assert_eq!(known.answered_ns[0], reply.echo_ns);
    assert_eq!((known.told, known.listening, known.gate), (1, 1, Passage::Closed as u32));
    assert_eq!((known.queue, known.queue_limit, known.heartbeat_ms), (3, 128, 12));
    assert!(known.their_time_ns > reply.time_ns, "that of the probe that followed");
    let counters = ProbeCounters { probes: 1, answered: 1, replies: 1, ..Default::default() };
    assert_eq!(play.counters(), counters);
    assert_eq!(own.recv(&mut [0; 200]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// The agent is woken by the first word of a peer and by each word that is new, and not by one
/// that says the same again.
fn news_wake_the_agent(version: Version) {
    let mut play = Play::on(version, "probe-news");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut events = runtime.block_on(async { play.stage.kernel.take_events() }).unwrap();
    let said = |f: fn(&mut Status)| {
        let mut status = standby();
        f(&mut status);
        status
    };
    for (news, status) in [
        (true, standby()),
        (false, standby()),
        (false, said(|s| s.lsn = ogha_common::units::Lsn::new(1))),
        (true, said(|s| s.term = Term::new(8))),
        (true, said(|s| s.phase = Phase::Fenced)),
        (true, said(|s| s.primary = None)),
        (true, said(|s| s.restarting = true)),
        (true, said(|s| s.role = probe::Role::Primary)),
    ] {
        let probe = Probe { status, ..play.probe() };
        play.send(&probe);
        play.heard();
        let event = events.take().map(|event| (event.kind, event.instance, event.detail));
        assert_eq!(event, news.then_some((EVENT_PEER, INSTANCE, PEER.get())), "{status:?}");
        assert_eq!(events.take(), None);
    }
}

/// Everything that may be wrong with a datagram, each by itself: it is not answered, nothing is
/// believed, and the counter of its reason moves.
fn what_is_refused_moves_only_its_counter(version: Version) {
    let mut play = Play::on(version, "probe-refused");
    play.ask();
    let known = play.known();
    let probe = play.probe();
    type Counts = fn(&mut ProbeCounters);
    let bad: Vec<(Vec<u8>, Counts)> = vec![
        (forged(&probe), |c| c.tag += 1),
        (datagram(&probe)[..111].to_vec(), |c| c.length += 1),
        ([&datagram(&probe)[..], &[0]].concat(), |c| c.length += 1),
        (vec![], |c| c.length += 1),
        (changed(&probe, 0, b'o'), |c| c.magic += 1),
        (changed(&probe, 4, 1), |c| c.version += 1),
        (changed(&probe, 96, 0), |c| c.field += 1),
        (changed(&probe, 99, 4), |c| c.field += 1),
        (good(&Probe { vrid: Vrid::new(60).unwrap(), ..probe }), |c| c.receiver += 1),
        (good(&Probe { to: PEER, ..probe }), |c| c.receiver += 1),
        (good(&Probe { node: NodeId::of("stranger"), ..probe }), |c| c.stranger += 1),
        (good(&Probe { sequence: known.replay.probe[0], ..probe }), |c| c.replay += 1),
        (good(&Probe { sequence: 1, ..probe }), |c| c.replay += 1),
        (good(&Probe { kind: ProbeKind::Reply, echo_ns: 0, ..probe }), |c| c.echo += 1),
        (good(&Probe { kind: ProbeKind::Reply, echo_ns: 1, ..probe }), |c| c.echo += 1),
        (good(&Probe { kind: ProbeKind::Reply, echo_ns: u64::MAX, ..probe }), |c| c.echo += 1),
        (good(&of_term(&probe, u64::MAX)), |c| c.leap += 1),
        (good(&of_term(&probe, TERM + Term::LEAP + 1)), |c| c.leap += 1),
    ];
    let mut expected = play.counters();
    for (index, (datagram, count)) in bad.into_iter().enumerate() {
        play.send_raw(&datagram);
        let before = play.known();
        // The node takes one after the other: what it answers next is not the bad one.
        let reply = play.ask();
        assert_eq!(reply.kind, ProbeKind::Reply);
        count(&mut expected);
        expected.probes += 1;
        expected.answered += 1;
        assert_eq!(play.counters(), expected, "number {index}");
        assert_eq!(before.said, known.said, "number {index}");
    }
}

/// One whose sender's record has this term.
fn of_term(probe: &Probe, term: u64) -> Probe {
    Probe { status: Status { term: Term::new(term), ..probe.status }, ..*probe }
}

fn good(probe: &Probe) -> Vec<u8> {
    datagram(probe).to_vec()
}

/// With another key.
fn forged(probe: &Probe) -> Vec<u8> {
    let other = siphash::Key::new([8; 16]);
    probe::encode(probe, |body| siphash::tag(other, body)).to_vec()
}

/// With the right key, and one octet that is wrong.
fn changed(probe: &Probe, at: usize, octet: u8) -> Vec<u8> {
    let mut datagram = datagram(probe);
    datagram[at] = octet;
    let body = *probe::body(&probe::words(&datagram)).unwrap();
    datagram[probe::offset::TAG..].copy_from_slice(&siphash::tag(KEY, &body).to_be_bytes());
    datagram.to_vec()
}

/// A datagram goes its way with one bit wrong, any one: it is refused, and so is the right one
/// when it comes a second time.
fn a_flipped_bit_and_a_replay_are_refused(version: Version) {
    let mut play = Play::on(version, "probe-bits");
    let probe = play.probe();
    play.send(&probe);
    play.heard();
    let known = play.known();
    let right = datagram(&probe);
    for bit in 0..8 * probe::LEN {
        let mut wrong = right;
        wrong[bit / 8] ^= 1 << (bit % 8);
        play.send_raw(&wrong);
    }
    play.send_raw(&right);
    let before = play.ask();
    assert_eq!(before.kind, ProbeKind::Reply);
    let counters = play.counters();
    let expected = ProbeCounters {
        probes: 2,
        answered: 2,
        magic: 32,
        // Later versions are heard as well: of these eight only 0 is none.
        version: 1,
        tag: 8 * (probe::LEN as u64 - 5) + 7,
        replay: 1,
        ..ProbeCounters::default()
    };
    assert_eq!(counters, expected);
    assert_eq!(play.known().replay.boot_id, known.replay.boot_id);
}

/// The peer has rebooted, or somebody plays what was recorded in another of its lives: until it
/// echoes a recent time of the node's it is answered, so that it can, but not believed.
fn a_recording_takes_nobodys_place(version: Version) {
    let mut play = Play::on(version, "probe-boot");
    play.ask();
    let known = play.known();
    let recorded = Probe { boot_id: [3; 16], echo_ns: 0, status: serving(), ..play.probe() };
    play.send(&recorded);
    let reply = play.heard();
    assert_eq!((reply.kind, reply.echo_ns), (ProbeKind::Reply, recorded.time_ns));
    assert_eq!(play.known(), known);
    assert_eq!(play.counters().unproven, 1);
    // It was the peer: it echoes what it has heard.
    let proven = Probe { sequence: 5, time_ns: 9, echo_ns: reply.time_ns, ..recorded };
    play.send(&proven);
    play.heard();
    let rebooted = play.known();
    assert_eq!(rebooted.said.status(), Some(serving()));
    assert_eq!(rebooted.their_time_ns, 9, "another clock");
    // The boot before is over for good.
    let old = play.probe();
    play.send(&old);
    let next = Probe { sequence: 6, time_ns: 10, ..proven };
    play.send(&next);
    assert_eq!(play.heard().echo_ns, 10);
    assert_eq!(play.counters().replay, 1);
}

/// Traffic at another port, and that to another address, is none of the probes' business.
fn other_datagrams_pass(version: Version) {
    let play = Play::on(version, "probe-others");
    let elsewhere = (play.stage.node_address(), PROBES + 1);
    let other = play.stage.node.namespace().enter(|| std::net::UdpSocket::bind(elsewhere).unwrap());
    other.set_read_timeout(Some(crate::wire::GENEROUS)).unwrap();
    play.socket.send_to(b"hello", elsewhere).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(other.recv(&mut buffer).unwrap(), 5);
    assert_eq!(play.counters(), ProbeCounters::default());
}

/// Random datagrams, most of them close to a right one: none is believed or answered. 100,000 of
/// them, or as many as `OGHA_RANDOM_PROBES` says.
fn random_datagrams_change_nothing(version: Version) {
    let mut play = Play::on(version, "probe-random");
    play.ask();
    let known = play.known();
    let (before, count) = (play.counters(), count_of_random());
    let run = TestRun::ingress(&play.stage.node);
    let right = datagram(&play.probe());
    let frame =
        crate::frames::datagram(play.stage.client_end(), play.stage.node_end(), PROBES, &right);
    let headers = frame.len() - probe::LEN;
    let mut random = Random(clock::now().ns() | 1);
    println!("seed {}", random.0);
    for _ in 0..count {
        let mut wrong = frame.clone();
        let payload = &mut wrong[headers..];
        match random.next() % 4 {
            0 => payload.iter_mut().for_each(|octet| *octet = random.next() as u8),
            1 => payload[5..].iter_mut().for_each(|octet| *octet = random.next() as u8),
            _ => {
                let bit = random.next() as usize % (8 * probe::LEN);
                payload[bit / 8] ^= 1 << (bit % 8);
                let bit = random.next() as usize % (8 * probe::LEN - 1);
                payload[bit / 8] ^= 1 << (bit % 8);
            }
        }
        if payload == right {
            continue;
        }
        assert_eq!(run.once(&wrong), DROP, "{wrong:02x?}");
    }
    assert_eq!(play.known(), known);
    let after = play.counters();
    assert_eq!(after.probes + after.answered, before.probes + before.answered);
    assert!(after.refused() > count * 99 / 100, "{after:?}");
    assert_eq!(after.refused(), after.magic + after.version + after.tag);
    let mut ran = Vec::new();
    assert_eq!(run.run(&frame, 1, &mut ran), (RETURN, ran.len()), "and the right one is answered");
}

fn count_of_random() -> u64 {
    std::env::var("OGHA_RANDOM_PROBES").map_or(100_000, |count| count.parse().unwrap())
}

/// Marsaglia's xorshift: anything that is quick and repeats no pattern.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
