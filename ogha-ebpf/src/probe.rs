//! Probes: authenticated here, recorded in `PEERS` and answered from `SELF`, whether or not an
//! agent lives.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use ogha_common::{
    maps::{EVENT_PEER, Endpoint, NS_PER_MS, Offer, Peer, PeerKey, ProbeCounters, Refusal, Said},
    wire::{
        probe::{self as wire, Error, Facts, Kind, Words, offset, word},
        replay::Novelty,
        siphash,
    },
};

use crate::{
    Reason,
    checksum::{add, add_wide, fold},
    context::Context,
    events, gate,
    ip::{Address, Ip, NOBODY, pseudo_sum},
    lease,
    listener::{self, Listener},
    maps::{ENDPOINTS, PEERS, PROBE_COUNTERS, SELF},
    packet::{Ethernet, Frame, PROTOCOL_UDP, Udp},
};

/// How old the echo of a time of ours may be.
const FRESH_NS: u64 = 10_000 * NS_PER_MS;

/// The headers of a probe behind that of Ethernet.
#[repr(C)]
struct Headers<I> {
    ip: I,
    udp: Udp,
}

impl<I: Ip> Headers<I> {
    /// Where the datagram's words begin: behind an IP header without options.
    #[inline(always)]
    fn payload(frame: Frame) -> u32 {
        (frame.tags() + Ethernet::LEN + I::LEN + Udp::LEN) as u32
    }
}

/// Whose endpoint the packet is for: an instance, or [`NOBODY`].
#[inline(always)]
pub fn instance_of(frame: Frame, ip: &impl Ip) -> u32 {
    let payload = ip.payload(frame, frame.len());
    if payload.protocol != PROTOCOL_UDP {
        return NOBODY;
    }
    let Some(udp) = frame.at::<Udp>(payload.at) else { return NOBODY };
    let [high, low] = ip.destination().key();
    // SAFETY: `at` has checked the bounds; an address is 16 plain bytes.
    let (port, address) = unsafe {
        (u16::from_be((*udp).destination), core::mem::transmute::<[u64; 2], [u8; 16]>([high, low]))
    };
    // SAFETY: a copy of an aligned word is taken at once.
    match unsafe { ENDPOINTS.get(Endpoint { address, port: u32::from(port) }) } {
        Some(instance) => *instance,
        None => NOBODY,
    }
}

/// A datagram has come to an instance's endpoint.
#[inline(always)]
pub fn ingress<I: Ip>(ctx: &impl Context, frame: Frame, instance: u32) -> Reason {
    let Some(offer) = SELF.get_ptr_mut(instance) else { return Reason::NotOurs };
    let mut words = MaybeUninit::<Words>::uninit();
    let Some(words) = load::<I>(ctx, frame, &mut words) else {
        count(instance, |counters| counters.refuse(Refusal::Malformed(Error::Length)));
        return Reason::ProbeRefused;
    };
    match examine(offer, instance, words) {
        Ok(Heard { kind: Kind::Reply, .. }) => Reason::ProbeAbsorbed,
        Ok(Heard { kind: Kind::Probe, peer, believed, now }) => {
            let grant_ms = if believed {
                let (asker, term) = (word(words, offset::NODE), word(words, offset::TERM));
                lease::promise(offer, peer, asker, term, now)
            } else {
                0
            };
            answer::<I>(ctx, frame, &Own { offer, instance, now, grant_ms }, words)
        }
        Err(refusal) => {
            count(instance, |counters| counters.refuse(refusal));
            Reason::ProbeRefused
        }
    }
}

/// This node, as it answers a probe.
struct Own {
    offer: *mut Offer,
    instance: u32,
    now: u64,
    grant_ms: u16,
}

/// An authentic datagram.
struct Heard {
    kind: Kind,
    /// Who sent it.
    peer: *mut Peer,
    /// What it says counts.
    believed: bool,
    /// When it came: the clock is read once for it.
    now: u64,
}

/// Is the datagram to be believed? Then what it says is written down.
#[inline(always)]
fn examine(offer: *mut Offer, instance: u32, words: &Words) -> Result<Heard, Refusal> {
    // SAFETY: the agent writes the same values again and again; only `said` needs the lock.
    let (key, vrid, node) = unsafe {
        let key = siphash::Key { k0: (*offer).key0, k1: (*offer).key1 };
        (key, (*offer).vrid, (*offer).node)
    };
    wire::check(words, |body| siphash::tag(key, body)).map_err(Refusal::Malformed)?;
    if u32::from(wire::octet(words, offset::VRID)) != vrid || word(words, offset::TO) != node {
        return Err(Refusal::Receiver);
    }
    let kind = if wire::octet(words, offset::KIND) == Kind::Reply as u8 {
        Kind::Reply
    } else {
        Kind::Probe
    };
    let key = PeerKey { instance, reserved: 0, node: word(words, offset::NODE) };
    let Some(peer) = PEERS.get_ptr_mut(key) else { return Err(Refusal::Stranger) };
    let now = gate::now();
    let echo = word(words, offset::ECHO);
    let fresh = echo != 0 && echo <= now && now - echo < FRESH_NS;
    if kind as u8 == Kind::Reply as u8 && !fresh {
        return Err(Refusal::Echo);
    }
    let outcome = record(peer, words, kind, now, fresh);
    if outcome == UNPROVEN {
        count(instance, |counters| counters.unproven += 1);
        return Ok(Heard { kind, peer, believed: false, now });
    }
    if outcome == OLD {
        return Err(Refusal::Replay);
    }
    let term = word(words, offset::TERM);
    lease::hear(instance, term);
    if wire::grant_ms(words) != 0 {
        lease::granted(instance, term);
    }
    if outcome == NEWS {
        events::emit(EVENT_PEER, instance, now, key.node);
    }
    count(instance, |counters| counters.accept(kind));
    Ok(Heard { kind, peer, believed: true, now })
}

/// The headers, if the packet has them.
///
/// Its bounds are read anew: the compiler knows from [`instance_of`] that they suffice, and would
/// leave the check out that the kernel's verifier wants to see.
#[inline(always)]
fn headers<I>(ctx: &impl Context, frame: Frame) -> Option<*mut Headers<I>> {
    ctx.frame().like(frame).at(Ethernet::LEN)
}

/// The datagram, if the packet is whole, without IP options, and as long as it must be.
#[inline(always)]
fn load<'a, I: Ip>(
    ctx: &impl Context,
    frame: Frame,
    words: &'a mut MaybeUninit<Words>,
) -> Option<&'a mut Words> {
    const UDP_LENGTH: u16 = (Udp::LEN + wire::LEN) as u16;
    let headers = headers::<I>(ctx, frame)?;
    // SAFETY: `headers` has checked the bounds; nobody writes the packet before its last use here.
    let Headers { ip, udp, .. } = unsafe { &*headers };
    if !ip.is_plain(UDP_LENGTH) || udp.length != UDP_LENGTH.to_be() {
        return None;
    }
    // SAFETY: the buffer is as long as is said, and any octets
    // are words.
    unsafe {
        let buffer = words.as_mut_ptr().cast();
        let loaded = ctx.load(Headers::<I>::payload(frame), buffer, wire::LEN as u32);
        loaded.then(|| words.assume_init_mut())
    }
}

// What came of recording a datagram. Numbers, for the verifier follows them where it loses an enum.
const OLD: u32 = 0;
const UNPROVEN: u32 = 1;
const KNOWN: u32 = 2;
const NEWS: u32 = 3;

/// Writes down what an authentic datagram says. Two of the same peer may come on two CPUs.
#[inline(always)]
fn record(peer: *mut Peer, words: &Words, kind: Kind, now: u64, fresh: bool) -> u32 {
    let said = said(words);
    let boot_id = [words[offset::BOOT_ID / 8], words[offset::BOOT_ID / 8 + 1]];
    let (sequence, time) = (word(words, offset::SEQUENCE), word(words, offset::TIME));
    let (echo, path) = (word(words, offset::ECHO), wire::octet(words, offset::PATH));
    // Anchored at a time of our own that the sender had heard of when it gave its word.
    let granted_until = echo + u64::from(wire::grant_ms(words)) * NS_PER_MS;
    let facts = (word(words, offset::FACTS) as u32, word(words, offset::QUEUE_LIMIT));
    // SAFETY: the entry stays allocated while the program runs, and the lock keeps others away.
    // Nothing may be called until it is given back.
    unsafe {
        bpf_spin_lock((&raw mut (*peer).lock).cast());
        let peer = &mut *peer;
        let rebooted = peer.replay.boot_id[0] != boot_id[0] || peer.replay.boot_id[1] != boot_id[1];
        let outcome = match peer.replay.accept(boot_id, kind, path, sequence, fresh) {
            Novelty::Old => OLD,
            Novelty::Unproven => UNPROVEN,
            Novelty::New => {
                let mut outcome = KNOWN;
                if rebooted || time > peer.their_time_ns {
                    if rebooted || peer.said.differs(&said) {
                        outcome = NEWS;
                    }
                    peer.their_time_ns = time;
                    peer.said = said;
                }
                if fresh && granted_until > echo {
                    peer.grant(said.term, granted_until);
                }
                match kind {
                    Kind::Probe => peer.last_probe_ns = now,
                    Kind::Reply => {
                        peer.last_reply_ns = now;
                        peer.answered_ns[path as usize & (wire::MAX_PATHS - 1)] = echo;
                        peer.rtt_ns = now - echo;
                        let listening = facts.0 >> 25 & 1;
                        let exited = facts.0 >> 26 & 1;
                        if peer.listening != listening || peer.exited != exited {
                            outcome = NEWS;
                        }
                        peer.exited = exited;
                        peer.told = facts.0 >> 24 & 1;
                        peer.listening = listening;
                        peer.gate = facts.0 >> 16 & 0xff;
                        peer.queue = facts.0 & 0xffff;
                        peer.queue_limit = (facts.1 >> 48) as u32;
                        peer.heartbeat_ms = facts.1 as u32;
                    }
                }
                outcome
            }
        };
        bpf_spin_unlock((&raw mut peer.lock).cast());
        outcome
    }
}

#[inline(always)]
fn said(words: &Words) -> Said {
    Said {
        term: word(words, offset::TERM),
        primary: word(words, offset::PRIMARY),
        in_sync: word(words, offset::IN_SYNC),
        lsn: word(words, offset::LSN),
        phase: wire::octet(words, offset::PHASE),
        role: wire::octet(words, offset::ROLE),
        restarting: wire::octet(words, offset::FLAGS) & 1,
        priority: wire::octet(words, offset::PRIORITY),
        paused: wire::octet(words, offset::FLAGS) >> 1 & 1,
        reserved: [0; 3],
    }
}

/// Turns the probe into its reply, in place.
#[inline(always)]
fn answer<I: Ip>(ctx: &impl Context, frame: Frame, own: &Own, words: &mut Words) -> Reason {
    let Some(headers) = headers::<I>(ctx, frame) else { return Reason::ProbeAbsorbed };
    if !ctx.frame().like(frame).turn() {
        return Reason::ProbeAbsorbed;
    }
    // SAFETY: `headers` has checked the bounds; nobody else has the packet.
    let headers = unsafe { &mut *headers };
    headers.ip.turn();
    (headers.udp.source, headers.udp.destination) = (headers.udp.destination, headers.udp.source);
    // What the kernels take in their stead is the tag; IPv4 lets it be left out (RFC 768).
    headers.udp.checksum = 0;
    fill_in(ctx, own, headers.ip.source(), words);
    if I::UDP_CHECKSUM {
        headers.udp.checksum = udp_checksum(headers, words);
    }
    // SAFETY: the buffer is as long as is said. No pointer into the packet is used after this.
    let stored = unsafe {
        let buffer = (&raw const *words).cast();
        ctx.store(Headers::<I>::payload(frame), buffer, wire::LEN as u32)
    };
    if !stored {
        return Reason::ProbeAbsorbed;
    }
    count(own.instance, |counters| counters.answered += 1);
    Reason::ProbeAnswered
}

#[inline(always)]
fn udp_checksum<I: Ip>(Headers { ip, udp }: &Headers<I>, words: &Words) -> u16 {
    let length = u16::from_be(udp.length);
    let sum = pseudo_sum(ip.source(), ip.destination(), PROTOCOL_UDP, length)
        + add([udp.source, udp.destination, udp.length])
        + add_wide(words);
    // Zero would say that there is none (RFC 768).
    match !fold(sum) {
        0 => u16::MAX,
        sum => sum,
    }
}

/// The reply's words, from the probe's.
#[inline(always)]
fn fill_in(ctx: &impl Context, own: &Own, address: impl Address, words: &mut Words) {
    let Own { offer, instance, now, grant_ms } = *own;
    // SAFETY: as in `examine`.
    let (port, exited, heartbeat_ns) = unsafe {
        let exited = (&raw const (*offer).exited).read_volatile() != 0;
        ((*offer).database_port, exited, (&raw const (*offer).heartbeat_ns).read_volatile())
    };
    let listener =
        if port == 0 { Listener::default() } else { listener::at(ctx, address, port as u16) };
    let facts = Facts {
        listening: listener.present,
        gate: Some(gate::passage(instance, now)),
        queue: listener.queue,
        queue_limit: listener.queue_limit,
        exited,
        heartbeat_ms: age_ms(heartbeat_ns, now),
    };
    let (live, rest) = wire::facts_words(&facts);
    // SAFETY: the element stays while the program runs; the lock keeps the agent from changing
    // `said` meanwhile. Nothing may be called until it is given back.
    let (said, key, node, boot_id) = unsafe {
        bpf_spin_lock((&raw mut (*offer).lock).cast());
        let said = (*offer).said;
        bpf_spin_unlock((&raw mut (*offer).lock).cast());
        let key = siphash::Key { k0: (*offer).key0, k1: (*offer).key1 };
        (said, key, (*offer).node, (*offer).boot_id)
    };
    let head = word(words, offset::MAGIC) & !0xffff;
    let (asked, asker) = (word(words, offset::TIME), word(words, offset::NODE));
    let state = u64::from(said.phase) << 56
        | u64::from(said.role) << 48
        | u64::from(said.paused << 1 | said.restarting) << 40
        | u64::from(wire::octet(words, offset::PATH)) << 32
        | u64::from(live);
    let mut set = |at: usize, value: u64| words[at / 8] = value.to_be();
    set(offset::MAGIC, head | (Kind::Reply as u64) << 8 | u64::from(said.priority));
    set(offset::SEQUENCE, now);
    set(offset::TIME, now);
    set(offset::ECHO, asked);
    set(offset::NODE, node);
    set(offset::TO, asker);
    set(offset::TERM, said.term);
    set(offset::PRIMARY, said.primary);
    set(offset::LSN, said.lsn);
    set(offset::IN_SYNC, said.in_sync);
    set(offset::PHASE, state);
    set(offset::QUEUE_LIMIT, rest | u64::from(grant_ms) << 32);
    words[offset::BOOT_ID / 8] = boot_id[0];
    words[offset::BOOT_ID / 8 + 1] = boot_id[1];
    if let Some(body) = wire::body(words) {
        words[offset::TAG / 8] = siphash::tag(key, body).to_be();
    }
}

/// Saturates; so does the age of an agent that never was.
#[inline(always)]
fn age_ms(heartbeat_ns: u64, now: u64) -> u32 {
    let age = now.saturating_sub(heartbeat_ns) / NS_PER_MS;
    if heartbeat_ns == 0 || age > u64::from(u32::MAX) { u32::MAX } else { age as u32 }
}

#[inline(always)]
fn count(instance: u32, add: impl FnOnce(&mut ProbeCounters)) {
    if let Some(counters) = PROBE_COUNTERS.get_ptr_mut(instance) {
        // SAFETY: the element belongs to this CPU, and no other program of ours interrupts us.
        add(unsafe { &mut *counters });
    }
}
