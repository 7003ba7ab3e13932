//! What must be unique across the instances of a file.

use std::{collections::HashMap, net::IpAddr};

use super::reader::Reader;

/// Who has taken what so far.
#[derive(Default)]
pub(super) struct Claims {
    taken: HashMap<String, usize>,
    virtual_addresses: HashMap<IpAddr, usize>,
    /// Addresses, and where they stand.
    peers: Vec<(IpAddr, usize)>,
}

impl Claims {
    /// Claims `thing` ("port 26000") for the key at `at`; reports it if another has it.
    pub(super) fn take(&mut self, reader: &Reader<'_>, key: &str, at: usize, thing: String) {
        if let Some(first) = self.taken.get(&thing) {
            let line = reader.line(*first);
            reader.problem_at(at, key, format!("{thing} is taken by line {line}; choose another"));
            return;
        }
        self.taken.insert(thing, at);
    }

    /// Claims a virtual address.
    pub(super) fn virtual_address(
        &mut self,
        reader: &Reader<'_>,
        key: &str,
        at: usize,
        address: IpAddr,
    ) {
        self.take(reader, key, at, format!("virtual address {address}"));
        self.virtual_addresses.entry(address).or_insert(at);
    }

    /// Notes a peer's own address. Several instances may have the same peer.
    pub(super) fn peer(&mut self, at: usize, address: IpAddr) {
        self.peers.push((address, at));
    }

    /// Reports the peers whose address moves: known only when all instances are read.
    pub(super) fn finish(&self, root: &Reader<'_>) {
        for (address, at) in &self.peers {
            if let Some(virtual_at) = self.virtual_addresses.get(address) {
                let line = root.line(*virtual_at);
                root.problem_below(
                    *at,
                    "instance.peer.address",
                    format!(
                        "{address} is the virtual address of line {line}; write the peer's own \
                         address"
                    ),
                );
            }
        }
    }
}
