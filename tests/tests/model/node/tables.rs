//! The kernel's maps of a node of the model, as the kernel's rules see them.

use ogha_common::maps::{self, Granters, Hearing, Said, Tables};

use super::{GRANT_MS, Node};

impl Tables for Node {
    fn own_term(&self) -> u64 {
        self.offer.map_or(0, |(status, _)| status.term.get())
    }

    fn hear(&mut self, datagram: &maps::Datagram, now_ns: u64, fresh: bool) -> Hearing {
        self.peer.hear(datagram, now_ns, fresh)
    }

    fn highest_term(&self) -> u64 {
        self.heard.highest_term
    }

    fn name_term(&mut self, term: u64) {
        self.heard.term(term);
    }

    fn gate_term(&self) -> u64 {
        self.gate.term
    }

    fn granters(&self) -> Granters {
        let node = if self.counts { self.other().get() } else { 0 };
        Granters { nodes: [node, 0, 0, 0, 0, 0, 0] }
    }

    fn granted_by(&self, _: u64) -> (u64, u64) {
        (self.peer.granted_term, self.peer.granted_until_ns)
    }

    fn prolong(&mut self, term: u64, until_ns: u64) {
        self.heard.grant(term, until_ns);
    }

    fn offered(&mut self, asker: u64, term: u64) -> u16 {
        let Some((status, true)) = self.offer else { return 0 };
        let offer = maps::Offer {
            said: Said::from(status),
            grant_to: self.other().get(),
            grant_ms: u32::from(GRANT_MS),
            ..maps::Offer::default()
        };
        offer.grants(asker, term)
    }

    fn note_grant(&mut self, until_ns: u64) {
        self.peer.note_grant(until_ns);
    }
}
