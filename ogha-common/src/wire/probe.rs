//! Probes: authenticated UDP datagrams by which nodes tell each other that they are there, and
//! in what state. Status travels between nodes in no other way.
//!
//! An agent sends probes; the kernel of the node that is probed answers, whether its agent lives or
//! not. One fixed length, big-endian, 64-bit fields at multiples of 8: a datagram is handled as
//! [`Words`], by the kernel's program as by user space, and [`check`] is the one place where its
//! rules stand. The tag is a SipHash-2-4 under the cluster's key over all before it; the caller
//! brings the function, for this module holds no key.

mod layout;
mod message;

pub use self::{
    layout::{
        Body, LEN, MAGIC, MAX_PATHS, VERSION, WORDS, Words, body, flag, grant_ms, octet, offset,
        page, page_words, word, words,
    },
    message::{Error, KernelFacts, Page, Phase, Probe, ProbeKind, Role, Status},
};
use crate::{
    gate::Passage,
    units::{Lsn, Members, NodeId, Priority, Term, Vrid},
};

use self::layout::flag::{EXITED, FILLED_IN, HUNG, LISTENING, PAUSED, RESTARTING};

/// Writes the datagram; `tag` is the keyed hash over what it is given.
pub fn encode(probe: &Probe, tag: impl FnOnce(&Body) -> u64) -> [u8; LEN] {
    let status = &probe.status;
    let primary = status.primary.map_or(0, NodeId::get);
    let flags = if status.restarting { RESTARTING } else { 0 }
        | if status.paused { PAUSED } else { 0 }
        | if status.hung { HUNG } else { 0 };
    let mut out = [0; LEN];
    put(&mut out, offset::MAGIC, MAGIC);
    put(&mut out, offset::VERSION, [VERSION]);
    put(&mut out, offset::VRID, [probe.vrid.get()]);
    put(&mut out, offset::KIND, [probe.kind as u8]);
    put(&mut out, offset::PRIORITY, [status.priority.get()]);
    put(&mut out, offset::SEQUENCE, probe.sequence.to_be_bytes());
    put(&mut out, offset::BOOT_ID, probe.boot_id);
    put(&mut out, offset::TIME, probe.time_ns.to_be_bytes());
    put(&mut out, offset::ECHO, probe.echo_ns.to_be_bytes());
    put(&mut out, offset::NODE, probe.node.get().to_be_bytes());
    put(&mut out, offset::TO, probe.to.get().to_be_bytes());
    put(&mut out, offset::TERM, status.term.get().to_be_bytes());
    put(&mut out, offset::PRIMARY, primary.to_be_bytes());
    put(&mut out, offset::LSN, status.lsn.get().to_be_bytes());
    put(&mut out, offset::IN_SYNC, status.in_sync.get().to_be_bytes());
    put(&mut out, offset::PHASE, [status.phase as u8]);
    put(&mut out, offset::ROLE, [status.role as u8]);
    put(&mut out, offset::FLAGS, [flags]);
    put(&mut out, offset::PATH, [probe.path]);
    let page = |page: Page| page_words(page.number, page.value);
    if let Some((high, low)) = probe.facts.as_ref().map(facts_words).or(probe.page.map(page)) {
        put(&mut out, offset::FACTS, high.to_be_bytes());
        put(&mut out, offset::QUEUE_LIMIT, low.to_be_bytes());
    }
    put(&mut out, offset::GRANT, probe.grant_ms.to_be_bytes());
    let tag = body(&words(&out)).map_or(0, tag);
    put(&mut out, offset::TAG, tag.to_be_bytes());
    out
}

/// What a kernel fills in: the lower half of the word at [`offset::PHASE`], and the one after it.
#[must_use]
#[inline(always)]
pub fn facts_words(facts: &KernelFacts) -> (u32, u64) {
    let flags = FILLED_IN
        | if facts.listening { LISTENING } else { 0 }
        | if facts.exited { EXITED } else { 0 };
    let gate = match facts.gate {
        Some(passage) => passage as u8,
        None => 0,
    };
    let high = (flags as u32) << 24 | (gate as u32) << 16 | facts.queue as u32;
    (high, (facts.queue_limit as u64) << 48 | facts.heartbeat_ms as u64)
}

/// Is this a datagram that may be acted upon? `tag` is the keyed hash over what it is given.
/// Nothing but magic and version is looked at before the tag is found right.
///
/// # Errors
/// The first rule that the datagram breaks.
#[inline(always)]
pub fn check(words: &Words, tag: impl FnOnce(&Body) -> u64) -> Result<(), Error> {
    if word(words, offset::MAGIC) >> 32 != u32::from_be_bytes(MAGIC) as u64 {
        return Err(Error::Magic);
    }
    if octet(words, offset::VERSION) < VERSION {
        return Err(Error::Version);
    }
    let Some(body) = body(words) else { return Err(Error::Length) };
    if tag(body) != word(words, offset::TAG) {
        return Err(Error::Tag);
    }
    if octet(words, offset::VRID) == 0 {
        return Err(Error::Vrid);
    }
    if words[offset::BOOT_ID / 8] | words[offset::BOOT_ID / 8 + 1] == 0 {
        return Err(Error::Boot);
    }
    if !matches!(octet(words, offset::KIND), 1..=2) {
        return Err(Error::Kind);
    }
    if word(words, offset::NODE) == 0 || word(words, offset::TO) == 0 {
        return Err(Error::Node);
    }
    if !matches!(octet(words, offset::PHASE), 1..=5) {
        return Err(Error::Phase);
    }
    if octet(words, offset::ROLE) > 2 {
        return Err(Error::Role);
    }
    if octet(words, offset::PATH) as usize >= MAX_PATHS {
        return Err(Error::Path);
    }
    Ok(())
}

/// Reads a datagram; `tag` is the keyed hash over what it is given.
///
/// # Errors
/// The first rule that the datagram breaks, as [`check`] finds it.
pub fn parse(datagram: &[u8], tag: impl FnOnce(&Body) -> u64) -> Result<Probe, Error> {
    let packet: &[u8; LEN] = datagram.try_into().map_err(|_| Error::Length)?;
    check(&words(packet), tag)?;
    let node = |at| NodeId::from_wire(number(packet, at)).ok_or(Error::Node);
    Ok(Probe {
        vrid: Vrid::new(packet[offset::VRID]).ok_or(Error::Vrid)?,
        kind: packet[offset::KIND].try_into()?,
        sequence: number(packet, offset::SEQUENCE),
        boot_id: take(packet, offset::BOOT_ID),
        time_ns: number(packet, offset::TIME),
        echo_ns: number(packet, offset::ECHO),
        node: node(offset::NODE)?,
        to: node(offset::TO)?,
        path: packet[offset::PATH],
        grant_ms: u16::from_be_bytes(take(packet, offset::GRANT)),
        status: read_status(packet)?,
        facts: read_facts(packet),
        page: read_page(packet),
    })
}

/// Only a probe has one: what a reply has there is its kernel's.
fn read_page(packet: &[u8; LEN]) -> Option<Page> {
    let probe = packet[offset::KIND] == ProbeKind::Probe as u8;
    let high = u32::from_be_bytes(take(packet, offset::FACTS));
    let (number, value) = page(high, number(packet, offset::QUEUE_LIMIT)).filter(|_| probe)?;
    Some(Page { number, value })
}

fn read_status(packet: &[u8; LEN]) -> Result<Status, Error> {
    Ok(Status {
        term: Term::new(number(packet, offset::TERM)),
        primary: NodeId::from_wire(number(packet, offset::PRIMARY)),
        in_sync: Members::from_wire(number(packet, offset::IN_SYNC)),
        phase: packet[offset::PHASE].try_into()?,
        role: packet[offset::ROLE].try_into()?,
        restarting: packet[offset::FLAGS] & RESTARTING != 0,
        paused: packet[offset::FLAGS] & PAUSED != 0,
        hung: packet[offset::FLAGS] & HUNG != 0,
        priority: Priority::new(packet[offset::PRIORITY]),
        lsn: Lsn::new(number(packet, offset::LSN)),
    })
}

fn read_facts(packet: &[u8; LEN]) -> Option<KernelFacts> {
    let flags = packet[offset::FACTS];
    (flags & FILLED_IN != 0).then(|| KernelFacts {
        listening: flags & LISTENING != 0,
        exited: flags & EXITED != 0,
        gate: Passage::from_wire(packet[offset::GATE]),
        queue: u16::from_be_bytes(take(packet, offset::QUEUE)),
        queue_limit: u16::from_be_bytes(take(packet, offset::QUEUE_LIMIT)),
        heartbeat_ms: u32::from_be_bytes(take(packet, offset::HEARTBEAT)),
    })
}

fn put<const N: usize>(packet: &mut [u8; LEN], at: usize, octets: [u8; N]) {
    packet[at..at + N].copy_from_slice(&octets);
}

fn take<const N: usize>(packet: &[u8; LEN], at: usize) -> [u8; N] {
    core::array::from_fn(|i| packet[at + i])
}

fn number(packet: &[u8; LEN], at: usize) -> u64 {
    u64::from_be_bytes(take(packet, at))
}

#[cfg(test)]
mod tests;
