//! What a peer's datagram does in the kernel of the node that gets it: the rules that the BPF
//! program, the simulation and the model share.
//!
//! [`receive`] is the order in which they apply, over [`Tables`], which are the maps of the program
//! or the fields of a simulated node. The program holds the lock of an entry while one of the
//! functions changes it, so these neither call nor copy or clear anything larger than a word: the
//! compiler would make a call of that, which old kernels forbid.

#[cfg(doc)]
use super::LeaseGrants;
use super::{Granters, NS_PER_MS, Offer, Peer, Refusal, Said};
use crate::{
    profile::PAGES,
    units::Term,
    wire::{
        probe::{MAX_PATHS, ProbeKind, Words, flag, grant_ms, octet, offset, page, word},
        replay::Novelty,
    },
};

/// How old the echo of a time of ours may be.
const FRESH_NS: u64 = 10_000 * NS_PER_MS;

/// What an authentic datagram says, as far as the kernel acts upon it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Question or answer.
    pub kind: ProbeKind,
    /// The path on which the question was sent; below [`MAX_PATHS`].
    pub path: u8,
    /// The sender.
    pub node: u64,
    /// The sender's boot, as it goes over the wire.
    pub boot_id: [u64; 2],
    /// Its number.
    pub sequence: u64,
    /// When it was sent, by the sender's clock.
    pub time_ns: u64,
    /// The time of ours that it echoes; 0: none.
    pub echo_ns: u64,
    /// For how long the sender grants a lease (it does not promote before), milliseconds; 0: it grants none.
    pub grant_ms: u16,
    /// What the sender says of itself.
    pub said: Said,
    /// Of a reply, what the sender's kernel filled in: the words of
    /// [`facts_words`](crate::wire::probe::facts_words). Of a probe, its [`page`].
    pub facts: (u32, u64),
}

impl Datagram {
    /// Reads one that [`check`](crate::wire::probe::check) has found good.
    #[must_use]
    #[inline(always)]
    pub const fn read(words: &Words) -> Self {
        let kind = if octet(words, offset::KIND) == ProbeKind::Reply as u8 {
            ProbeKind::Reply
        } else {
            ProbeKind::Probe
        };
        let flags = octet(words, offset::FLAGS);
        Self {
            kind,
            path: octet(words, offset::PATH),
            node: word(words, offset::NODE),
            boot_id: [words[offset::BOOT_ID / 8], words[offset::BOOT_ID / 8 + 1]],
            sequence: word(words, offset::SEQUENCE),
            time_ns: word(words, offset::TIME),
            echo_ns: word(words, offset::ECHO),
            grant_ms: grant_ms(words),
            said: Said {
                term: word(words, offset::TERM),
                primary: word(words, offset::PRIMARY),
                in_sync: word(words, offset::IN_SYNC),
                lsn: word(words, offset::LSN),
                phase: octet(words, offset::PHASE),
                role: octet(words, offset::ROLE),
                restarting: (flags & flag::RESTARTING != 0) as u8,
                priority: octet(words, offset::PRIORITY),
                paused: (flags & flag::PAUSED != 0) as u8,
                hung: (flags & flag::HUNG != 0) as u8,
                reserved: [0; 2],
            },
            facts: (word(words, offset::FACTS) as u32, word(words, offset::QUEUE_LIMIT)),
        }
    }

    /// Compares numbers, for the kernel's verifier follows them where it loses an enum.
    #[inline(always)]
    const fn is_reply(&self) -> bool {
        self.kind as u8 == ProbeKind::Reply as u8
    }
}

/// Does the echo show that its sender has heard of us lately? Else it may be a recording.
#[must_use]
#[inline(always)]
pub const fn is_fresh(echo_ns: u64, now_ns: u64) -> bool {
    echo_ns != 0 && echo_ns <= now_ns && now_ns - echo_ns < FRESH_NS
}

/// What came of a datagram that was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hearing {
    /// Heard before, or older than what was: nothing is changed.
    Old = 0,
    /// Of a boot that nothing proves: nothing is changed.
    Unproven = 1,
    /// It says what the one before said.
    Known = 2,
    /// It says something new, which the agent is to know at once.
    News = 3,
}

impl Peer {
    /// Writes down what an authentic datagram of this peer says. `fresh`: as [`is_fresh`] says of its
    /// echo.
    #[inline(always)]
    pub const fn hear(&mut self, datagram: &Datagram, now_ns: u64, fresh: bool) -> Hearing {
        let Datagram { kind, path, boot_id, sequence, .. } = *datagram;
        let own = self.replay.boot_id;
        let rebooted = own[0] != boot_id[0] || own[1] != boot_id[1];
        match self.replay.accept(boot_id, kind, path, sequence, fresh) {
            Novelty::Old => return Hearing::Old,
            Novelty::Unproven => return Hearing::Unproven,
            Novelty::New => {}
        }
        let mut hearing = Hearing::Known;
        if rebooted || datagram.time_ns > self.their_time_ns {
            if rebooted || self.said.differs(&datagram.said) {
                hearing = Hearing::News;
            }
            self.their_time_ns = datagram.time_ns;
            self.said.set(&datagram.said);
        }
        if fresh && datagram.grant_ms != 0 {
            // Anchored at a time of our own that the sender had heard of when it granted.
            let until = datagram.echo_ns + datagram.grant_ms as u64 * NS_PER_MS;
            self.grant(datagram.said.term, until);
        }
        match kind {
            ProbeKind::Probe => {
                self.last_probe_ns = now_ns;
                self.turn(datagram.facts, now_ns);
            }
            ProbeKind::Reply => {
                if self.answered(datagram, now_ns) {
                    hearing = Hearing::News;
                }
            }
        }
        hearing
    }

    /// Notes the page of a probe, if this version knows it.
    #[inline(always)]
    const fn turn(&mut self, (high, low): (u32, u64), now_ns: u64) {
        if let Some((number, value)) = page(high, low)
            && (number as usize) < PAGES
        {
            self.paged_ns = now_ns;
            self.pages[number as usize & (PAGES - 1)] = value;
        }
    }

    /// The peer's kernel has answered; whether its database or its agent has come or gone.
    #[inline(always)]
    const fn answered(&mut self, datagram: &Datagram, now_ns: u64) -> bool {
        let (facts, rest) = datagram.facts;
        let flags = (facts >> 24) as u8;
        let listening = (flags & flag::LISTENING != 0) as u32;
        let exited = (flags & flag::EXITED != 0) as u32;
        let news = self.listening != listening || self.exited != exited;
        self.last_reply_ns = now_ns;
        self.answered_ns[datagram.path as usize & (MAX_PATHS - 1)] = datagram.echo_ns;
        self.rtt_ns = now_ns - datagram.echo_ns;
        self.told = (flags & flag::FILLED_IN != 0) as u32;
        self.listening = listening;
        self.exited = exited;
        self.gate = facts >> 16 & 0xff;
        self.queue = facts & 0xffff;
        self.queue_limit = (rest >> 48) as u32;
        self.heartbeat_ms = rest as u32;
        news
    }

    /// The peer grants a lease in this term, until then. Within a term leases only grow.
    #[inline(always)]
    pub const fn grant(&mut self, term: u64, until_ns: u64) {
        if term > self.granted_term {
            self.granted_term = term;
            self.granted_until_ns = until_ns;
        } else if term == self.granted_term && until_ns > self.granted_until_ns {
            self.granted_until_ns = until_ns;
        }
    }

    /// This node grants the peer a lease: it is not promoted before then. A grant is never shortened.
    #[inline(always)]
    pub const fn note_grant(&mut self, until_ns: u64) {
        if self.promised_until_ns < until_ns {
            self.promised_until_ns = until_ns;
        }
    }
}

impl Offer {
    /// What the agent lets this node grant to one who asks in that term, milliseconds.
    #[must_use]
    #[inline(always)]
    pub const fn grants(&self, asker: u64, term: u64) -> u16 {
        if self.grant_to == asker && self.said.term == term { self.grant_ms as u16 } else { 0 }
    }
}

/// What the kernel of a node holds of one instance and of the peer whose datagram has come. Each method
/// that changes something does so while nobody else can.
pub trait Tables {
    /// The term of this node's record, as its agent has last stated it.
    fn own_term(&self) -> u64;
    /// [`Peer::hear`].
    fn hear(&mut self, datagram: &Datagram, now_ns: u64, fresh: bool) -> Hearing;
    /// The highest term that an authentic datagram has named.
    fn highest_term(&self) -> u64;
    /// [`LeaseGrants::term`].
    fn name_term(&mut self, term: u64);
    /// The term in which the gate was set.
    fn gate_term(&self) -> u64;
    /// Whose grants count.
    fn granters(&self) -> Granters;
    /// In which term a node has granted a lease, and until when.
    fn granted_by(&self, node: u64) -> (u64, u64);
    /// [`LeaseGrants::grant`].
    fn prolong(&mut self, term: u64, until_ns: u64);
    /// [`Offer::grants`], while the agent cannot change it.
    fn offered(&mut self, asker: u64, term: u64) -> u16;
    /// `Peer::note_grant`.
    fn note_grant(&mut self, until_ns: u64);
}

/// What came of an authentic datagram that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// What it says counts. Else a probe is answered, so that its sender can prove its boot.
    pub believed: bool,
    /// The agent is to be woken.
    pub news: bool,
    /// What the answer to a probe grants, milliseconds.
    pub grant_ms: u16,
}

/// An authentic datagram of a peer has come.
///
/// # Errors
/// Why it counts for nothing.
#[inline(always)]
pub fn receive<T: Tables>(
    tables: &mut T,
    datagram: &Datagram,
    now_ns: u64,
) -> Result<Received, Refusal> {
    let fresh = is_fresh(datagram.echo_ns, now_ns);
    if datagram.is_reply() && !fresh {
        return Err(Refusal::Echo);
    }
    let term = datagram.said.term;
    if Term::new(term).leaps_from(Term::new(tables.own_term())) {
        return Err(Refusal::Leap);
    }
    let hearing = tables.hear(datagram, now_ns, fresh) as u32;
    if hearing == Hearing::Unproven as u32 {
        return Ok(Received { believed: false, news: false, grant_ms: 0 });
    }
    if hearing == Hearing::Old as u32 {
        return Err(Refusal::Replay);
    }
    // From here on no gate of a lower term lets anything pass.
    if tables.highest_term() < term {
        tables.name_term(term);
    }
    if datagram.grant_ms != 0
        && term == tables.gate_term()
        && let Some(end) = earliest(tables, term)
    {
        tables.prolong(term, end);
    }
    let grant_ms = if datagram.is_reply() { 0 } else { grant(tables, datagram.node, term, now_ns) };
    Ok(Received { believed: true, news: hearing == Hearing::News as u32, grant_ms })
}

/// The end of the lease in this term: the earliest end of what all granters have granted, for any of
/// them may be promoted after its own. One that has granted nothing in this term ends it at 0. `None`
/// without granters.
#[inline(always)]
pub fn earliest(tables: &impl Tables, term: u64) -> Option<u64> {
    let mut earliest = u64::MAX;
    for node in tables.granters().nodes {
        if node == 0 {
            break;
        }
        let (granted_term, granted_until) = tables.granted_by(node);
        let until = if granted_term == term { granted_until } else { 0 };
        if until < earliest {
            earliest = until;
        }
    }
    if earliest == u64::MAX { None } else { Some(earliest) }
}

/// What this node grants to one who asks in that term, milliseconds.
///
/// The grant is written first, and only then the agent's offer is read again. So an agent that has
/// withdrawn its lease grant, and then reads when it ends, reads the last one.
#[inline(always)]
pub fn grant(tables: &mut impl Tables, asker: u64, term: u64, now_ns: u64) -> u16 {
    let granted = tables.offered(asker, term);
    if granted == 0 {
        return 0;
    }
    tables.note_grant(now_ns + u64::from(granted) * NS_PER_MS);
    let still = tables.offered(asker, term);
    if still < granted { still } else { granted }
}

#[cfg(test)]
mod tests;
