//! Probes: authenticated here, recorded in `PEERS` and answered from `SELF`, whether or not an
//! agent lives.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use ogha_common::{
    maps::{
        Datagram, EVENT_PEER, Endpoint, NS_PER_MS, Offer, Origin, Peer, PeerKey, ProbeCounters,
        Refusal, Refused, receive,
    },
    profile::{self, NAME_PAGES},
    wire::{
        probe::{self as wire, Error, KernelFacts, ProbeKind, Words, flag, offset, word},
        siphash,
    },
};

use crate::{
    Reason,
    checksum::{add, add_wide, fold},
    context::Context,
    events, gate,
    ip::{Ip, NOBODY, pseudo_sum},
    lease::Entries,
    listener::{self, Listener},
    maps::{ENDPOINTS, PEERS, PROBE_COUNTERS, REFUSALS, SELF},
    packet::{Address, Ethernet, Frame, PROTOCOL_UDP, Udp},
};

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
        Ok(Accepted { kind: ProbeKind::Reply, .. }) => Reason::ProbeAbsorbed,
        Ok(Accepted { kind: ProbeKind::Probe, now, grant_ms }) => {
            answer::<I>(ctx, frame, &Answerer { offer, instance, now, grant_ms }, words)
        }
        Err(refusal) => {
            count(instance, |counters| counters.refuse(refusal));
            if let Some(headers) = headers::<I>(ctx, frame) {
                // SAFETY: `headers` has checked the bounds; nobody writes the packet here.
                note(unsafe { (*headers).ip.source().key() }, instance, refusal, words);
            }
            Reason::ProbeRefused
        }
    }
}

/// A datagram from an address that the configuration names was refused: a person shall learn why. (What
/// can be forged is noted too. The agent goes by it only where nothing else is heard from there.)
#[inline(always)]
fn note(source: [u64; 2], instance: u32, refusal: Refusal, words: &Words) {
    // SAFETY: an address is 16 plain bytes.
    let address = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(source) };
    let Some(refused) = REFUSALS.get_ptr_mut(Origin { address, instance }) else { return };
    let refused: *mut Refused = refused;
    let now = gate::now();
    // SAFETY: the entry stays allocated while the program runs. Each is an aligned word that is written
    // at once; one that another CPU writes at the same time is as good.
    unsafe {
        match refusal {
            Refusal::Malformed(Error::Tag) => (&raw mut (*refused).tag_ns).write_volatile(now),
            Refusal::Malformed(Error::Version) => {
                (&raw mut (*refused).format_ns).write_volatile(now);
            }
            Refusal::Leap => (&raw mut (*refused).leap_ns).write_volatile(now),
            Refusal::Receiver | Refusal::Stranger => {
                (&raw mut (*refused).vrid).write_volatile(wire::octet(words, offset::VRID).into());
                (&raw mut (*refused).node).write_volatile(word(words, offset::NODE));
                (&raw mut (*refused).to).write_volatile(word(words, offset::TO));
                (&raw mut (*refused).sequence).write_volatile(word(words, offset::SEQUENCE));
                let boot_id = [words[offset::BOOT_ID / 8], words[offset::BOOT_ID / 8 + 1]];
                (&raw mut (*refused).boot_id[0]).write_volatile(boot_id[0]);
                (&raw mut (*refused).boot_id[1]).write_volatile(boot_id[1]);
                note_name(refused, words);
                (&raw mut (*refused).stray_ns).write_volatile(now);
            }
            _ => {}
        }
    }
}

/// A part of what its sender calls itself, if this datagram has one.
///
/// # Safety
/// The entry must be allocated.
#[inline(always)]
unsafe fn note_name(refused: *mut Refused, words: &Words) {
    if wire::octet(words, offset::KIND) != ProbeKind::Probe as u8 {
        return;
    }
    let facts = word(words, offset::FACTS) as u32;
    let Some((number, value)) = wire::page(facts, word(words, offset::QUEUE_LIMIT)) else { return };
    let part = number.wrapping_sub(profile::page::NAME) as usize;
    if part < NAME_PAGES {
        // SAFETY: as the caller promises; in bounds.
        unsafe { (&raw mut (*refused).name[part & (NAME_PAGES - 1)]).write_volatile(value) };
    }
}

/// This node, as it answers a probe.
struct Answerer {
    offer: *mut Offer,
    instance: u32,
    now: u64,
    grant_ms: u16,
}

/// A datagram that was not refused.
struct Accepted {
    kind: ProbeKind,
    /// When it came: the clock is read once for it.
    now: u64,
    /// What the answer to a probe grants.
    grant_ms: u16,
}

/// Is the datagram to be believed? Then what it says is written down.
#[inline(always)]
fn examine(offer: *mut Offer, instance: u32, words: &Words) -> Result<Accepted, Refusal> {
    // SAFETY: the agent writes the same values again and again; only `said` needs the lock.
    let (key, vrid, node) = unsafe {
        let key = siphash::Key { k0: (*offer).key0, k1: (*offer).key1 };
        (key, (*offer).vrid, (*offer).node)
    };
    wire::check(words, |body| siphash::tag(key, body)).map_err(Refusal::Malformed)?;
    if u32::from(wire::octet(words, offset::VRID)) != vrid || word(words, offset::TO) != node {
        return Err(Refusal::Receiver);
    }
    let datagram = Datagram::read(words);
    let key = PeerKey { instance, reserved: 0, node: datagram.node };
    let Some(peer) = PEERS.get_ptr_mut(key) else { return Err(Refusal::Stranger) };
    let peer: *mut Peer = peer;
    let now = gate::now();
    let received = receive(&mut Entries { offer, peer, instance }, &datagram, now)?;
    let kind = datagram.kind;
    if received.believed {
        count(instance, |counters| counters.accept(kind));
    } else {
        count(instance, |counters| counters.unproven += 1);
    }
    if received.news {
        events::emit(EVENT_PEER, instance, now, datagram.node);
    }
    Ok(Accepted { kind, now, grant_ms: received.grant_ms })
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

/// Turns the probe into its reply, in place.
#[inline(always)]
fn answer<I: Ip>(ctx: &impl Context, frame: Frame, own: &Answerer, words: &mut Words) -> Reason {
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
fn fill_in(ctx: &impl Context, own: &Answerer, address: impl Address, words: &mut Words) {
    let Answerer { offer, instance, now, grant_ms } = *own;
    // SAFETY: as in `examine`.
    let (port, exited, heartbeat_ns) = unsafe {
        let exited = (&raw const (*offer).exited).read_volatile() != 0;
        ((*offer).database_port, exited, (&raw const (*offer).heartbeat_ns).read_volatile())
    };
    let listener =
        if port == 0 { Listener::default() } else { listener::at(ctx, address, port as u16) };
    let facts = KernelFacts {
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
    // Of this version, whatever the probe's was.
    let head = word(words, offset::MAGIC) & !0xff00_ffff | u64::from(wire::VERSION) << 24;
    let (asked, asker) = (word(words, offset::TIME), word(words, offset::NODE));
    let flags = if said.restarting != 0 { flag::RESTARTING } else { 0 }
        | if said.paused != 0 { flag::PAUSED } else { 0 }
        | if said.hung != 0 { flag::HUNG } else { 0 };
    let state = u64::from(said.phase) << 56
        | u64::from(said.role) << 48
        | u64::from(flags) << 40
        | u64::from(wire::octet(words, offset::PATH)) << 32
        | u64::from(live);
    let mut set = |at: usize, value: u64| words[at / 8] = value.to_be();
    set(offset::MAGIC, head | (ProbeKind::Reply as u64) << 8 | u64::from(said.priority));
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
