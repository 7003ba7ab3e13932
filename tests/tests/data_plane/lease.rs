//! The lease, as the peers' packets move it, with no agent there.

use std::time::Duration;

use ogha_common::{
    maps::{Gate, Offer, Passage},
    units::{NodeId, Term},
    wire::probe::{Probe, ProbeKind, Status},
};
use ogha_tests::lab::clock;

use crate::{
    peer::{PEER, Play, offer, serving, standby},
    stage::{INSTANCE, TERM, Version, claimed, lapsed, open, open_for},
};

on_both_versions![
    a_higher_term_closes_the_gate_in_the_kernel,
    an_unproven_higher_term_closes_nothing,
    a_term_that_leaps_closes_nothing,
    an_answer_is_a_grant,
    a_withdrawn_word_is_given_no_more,
    a_grant_renews_the_lease_from_the_echoed_time_on,
    the_earliest_grant_ends_the_lease,
    other_grants_change_nothing,
    a_grant_that_comes_late_is_over,
];

/// Longer than any test, and shorter than the longest grant.
const GRANT_MS: u16 = 60_000;
const GRANT: Duration = Duration::from_millis(GRANT_MS as u64);
const THIRD: NodeId = NodeId::of("third");

fn passage(play: &Play) -> Passage {
    play.stage.kernel.passage(INSTANCE, clock::now().ns()).unwrap()
}

fn lease_end(play: &Play) -> u64 {
    let gate = play.stage.kernel.gate(INSTANCE).unwrap();
    gate.lease_end_ns(&play.stage.kernel.heard(INSTANCE).unwrap())
}

/// Sends it and waits for the answer: the node has read it.
fn tell(play: &Play, probe: &Probe) -> Probe {
    play.send(probe);
    let reply = play.heard();
    assert_eq!(reply.echo_ns, probe.time_ns);
    reply
}

/// A peer that names a higher term has been promoted, or is about to be: the gate is closed by the
/// packet itself, though its lease goes on and its agent has heard of nothing.
fn a_higher_term_closes_the_gate_in_the_kernel(version: Version) {
    for gate in [open(), claimed(), lapsed()] {
        let mut play = Play::on(version, "lease-term");
        play.stage.gate(gate);
        play.ask();
        let before = passage(&play);
        assert_ne!(before, Passage::Closed, "a packet of the same term changes nothing");
        let status = Status { term: Term::new(TERM + 1), ..standby() };
        let probe = Probe { status, ..play.probe() };
        assert_eq!(tell(&play, &probe).facts.unwrap().gate, Some(Passage::Closed));
        assert_eq!(passage(&play), Passage::Closed);
        // It stays so, whatever is said later, until the agent has a gate of that term.
        play.ask();
        assert_eq!(passage(&play), Passage::Closed);
        play.stage.gate(Gate { term: TERM + 1, ..open() });
        assert_eq!(passage(&play), Passage::Open);
    }
}

/// Nobody but a peer can do that: not with another key, and not by a recording.
fn an_unproven_higher_term_closes_nothing(version: Version) {
    let mut play = Play::on(version, "lease-forged");
    play.stage.gate(open());
    play.ask();
    let status = Status { term: Term::new(TERM + 1), ..standby() };
    let probe = Probe { status, boot_id: [9; 16], echo_ns: 0, ..play.probe() };
    tell(&play, &probe);
    assert_eq!(passage(&play), Passage::Open);
    assert_eq!(play.counters().unproven, 1);
}

/// Nor one of a peer whose term cannot be true: it would close the gate for ever, for no record could
/// have a higher one.
fn a_term_that_leaps_closes_nothing(version: Version) {
    let mut play = Play::on(version, "lease-leap");
    play.stage.gate(open());
    play.ask();
    for term in [TERM + Term::LEAP + 1, u64::MAX] {
        let status = Status { term: Term::new(term), ..standby() };
        let probe = Probe { status, ..play.probe() };
        play.send(&probe);
    }
    // The node takes one after the other: when it has answered this one it has refused those.
    play.ask();
    assert_eq!(play.counters().leap, 2);
    assert_eq!(passage(&play), Passage::Open);
    assert_eq!(play.stage.kernel.heard(INSTANCE).unwrap().highest_term, TERM);
}

/// A node without an agent goes on granting what its agent has let it grant: each answer to the primary
/// carries the grant, and the grant is written down before it is given.
fn an_answer_is_a_grant(version: Version) {
    let mut play = Play::on(version, "lease-grant");
    let granting =
        Offer { grant_to: PEER.get(), grant_ms: u32::from(GRANT_MS), ..offer(&serving()) };
    play.stage.kernel.set_self(INSTANCE, granting).unwrap();
    let before = clock::now();
    let reply = play.ask();
    assert_eq!(reply.grant_ms, GRANT_MS);
    let granted = play.known().promised_until_ns;
    assert!(granted >= (before + GRANT).ns(), "from the answer on");
    assert!(granted <= (clock::now() + GRANT).ns());
    // Not in another term, and not to one that is not believed.
    for other in [TERM - 1, TERM + 1] {
        let status = Status { term: Term::new(other), ..standby() };
        let probe = Probe { status, ..play.probe() };
        assert_eq!(tell(&play, &probe).grant_ms, 0, "term {other}");
    }
    let unproven = Probe { boot_id: [9; 16], echo_ns: 0, ..play.probe() };
    assert_eq!(tell(&play, &unproven).grant_ms, 0);
    assert_eq!(play.known().promised_until_ns, granted);
}

/// The agent withdraws its lease grant before it promotes: the node answers, and grants no more.
fn a_withdrawn_word_is_given_no_more(version: Version) {
    let mut play = Play::on(version, "lease-withdrawn");
    let granting =
        Offer { grant_to: PEER.get(), grant_ms: u32::from(GRANT_MS), ..offer(&serving()) };
    for withdrawn in [
        Offer { grant_to: 0, ..granting },
        Offer { grant_ms: 0, ..granting },
        Offer { grant_to: THIRD.get(), ..granting },
    ] {
        play.stage.kernel.set_self(INSTANCE, granting).unwrap();
        assert_eq!(play.ask().grant_ms, GRANT_MS);
        play.stage.kernel.set_self(INSTANCE, withdrawn).unwrap();
        let granted = play.known().promised_until_ns;
        assert_eq!(play.ask().grant_ms, 0);
        assert_eq!(play.known().promised_until_ns, granted, "{withdrawn:?}");
    }
}

/// Replies and probes alike keep the gate open, from the moment that they echo on: the one at which
/// the granting peer had last heard of this node.
fn a_grant_renews_the_lease_from_the_echoed_time_on(version: Version) {
    for kind in [ProbeKind::Probe, ProbeKind::Reply] {
        let mut play = Play::on(version, "lease-grant");
        play.stage.kernel.set_granters(INSTANCE, &[PEER]).unwrap();
        play.stage.gate(lapsed());
        let grant = Probe { kind, grant_ms: GRANT_MS, ..play.probe() };
        play.send(&grant);
        if kind == ProbeKind::Probe {
            play.heard();
        }
        play.ask();
        let end = grant.echo_ns + u64::try_from(GRANT.as_nanos()).unwrap();
        assert_eq!(lease_end(&play), end, "{kind:?}");
        assert_eq!(passage(&play), Passage::Open);
        let known = play.known();
        assert_eq!((known.granted_term, known.granted_until_ns), (TERM, end));
    }
}

/// Any node that is in sync may be promoted, so the gate's lease is the earliest of what they grant.
fn the_earliest_grant_ends_the_lease(version: Version) {
    let mut play = Play::on(version, "lease-earliest");
    play.stage.kernel.set_peers(INSTANCE, &[PEER, THIRD]).unwrap();
    play.stage.kernel.set_granters(INSTANCE, &[PEER, THIRD]).unwrap();
    play.stage.gate(lapsed());
    let first = Probe { grant_ms: GRANT_MS, ..play.probe() };
    tell(&play, &first);
    assert_eq!(passage(&play), Passage::Lapsed, "the third has granted nothing");
    let third = Probe { node: THIRD, grant_ms: GRANT_MS / 2, ..play.probe() };
    tell(&play, &third);
    let half = u64::from(GRANT_MS / 2) * ogha_common::maps::NS_PER_MS;
    assert_eq!(lease_end(&play), third.echo_ns + half);
    assert_eq!(passage(&play), Passage::Open);
    let again = Probe { grant_ms: GRANT_MS, ..play.probe() };
    tell(&play, &again);
    assert_eq!(lease_end(&play), third.echo_ns + half, "the other's is still the earliest");
    // The third is out of sync: taken off the list, it is asked no more.
    play.stage.kernel.set_granters(INSTANCE, &[PEER]).unwrap();
    let last = Probe { grant_ms: GRANT_MS, ..play.probe() };
    tell(&play, &last);
    assert!(lease_end(&play) > third.echo_ns + half);
}

/// A grant counts in its own term only, from a node that is asked for it, and never shortens what
/// the agent itself has given.
fn other_grants_change_nothing(version: Version) {
    let mut play = Play::on(version, "lease-others");
    play.stage.kernel.set_granters(INSTANCE, &[PEER]).unwrap();
    play.stage.gate(lapsed());
    let status = Status { term: Term::new(TERM - 1), ..standby() };
    let stale = Probe { grant_ms: GRANT_MS, status, ..play.probe() };
    tell(&play, &stale);
    assert_eq!(passage(&play), Passage::Lapsed, "of an earlier term");
    play.stage.kernel.set_granters(INSTANCE, &[]).unwrap();
    let unasked = Probe { grant_ms: GRANT_MS, ..play.probe() };
    tell(&play, &unasked);
    assert_eq!(passage(&play), Passage::Lapsed, "nobody is asked: the agent alone renews");
    play.stage.kernel.set_granters(INSTANCE, &[PEER]).unwrap();
    let gate = open_for(2 * GRANT);
    play.stage.gate(gate);
    let shorter = Probe { grant_ms: 1, ..play.probe() };
    tell(&play, &shorter);
    assert_eq!(lease_end(&play), gate.lease_until_ns);
}

/// Somebody lets the node's probes through to the peer, but holds the answers back until the grant
/// is over: what it gives was over before it came.
fn a_grant_that_comes_late_is_over(version: Version) {
    let mut play = Play::on(version, "lease-late");
    play.stage.kernel.set_granters(INSTANCE, &[PEER]).unwrap();
    play.stage.gate(lapsed());
    let sent = clock::now() - Duration::from_secs(1);
    let late = Probe { grant_ms: 900, echo_ns: sent.ns(), ..play.probe() };
    tell(&play, &late);
    assert_eq!(passage(&play), Passage::Lapsed);
}
