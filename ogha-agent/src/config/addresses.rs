//! `virtual_addresses`, `[[instance.peer]]`, and what the addresses of an instance have in common.

use std::net::IpAddr;

use ogha_common::detector::MAX_PATHS;
use toml::de::DeValue;

use super::{
    claims::Claims,
    reader::{Read, Reader},
    types::{Instance, Node, Peer, VirtualAddress},
    value,
};
use crate::net::Family;

pub(super) fn virtual_addresses(
    table: &Reader<'_>,
    claims: &mut Claims,
) -> Read<Vec<VirtualAddress>> {
    let key = "virtual_addresses";
    let read = table.list(key, "[\"192.168.1.10/32\"]", virtual_address)?;
    for (at, vip) in &read {
        claims.virtual_address(table, key, *at, vip.address);
    }
    Some(read.into_iter().map(|(_, vip)| vip).collect())
}

fn virtual_address(value: &DeValue<'_>) -> Result<VirtualAddress, String> {
    let text = value::text(value, "\"192.168.1.10/32\"")?;
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address = value::address(address)?;
    let longest = if address.is_ipv6() { 128 } else { 32 };
    let prefix = match prefix {
        None => longest,
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|prefix| (1..=longest).contains(prefix) && !digits.starts_with('+'))
            .ok_or_else(|| format!("prefix {digits:?} is out of range; choose 1 to {longest}"))?,
    };
    if names_network(address, prefix) {
        return Err(format!("{text} names a network, not a host; choose an address within it"));
    }
    Ok(VirtualAddress { address, prefix })
}

/// Whether the address is the network's own: all zeros, or all ones of IPv4, behind the prefix. In
/// the longest two prefixes each address is a host's (RFC 3021, RFC 6164).
fn names_network(address: IpAddr, prefix: u8) -> bool {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let host = address.to_bits() & mask;
            prefix < 31 && (host == 0 || host == mask)
        }
        // All routers of the network share it (RFC 4291 section 2.6.1).
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            prefix < 127 && address.to_bits() & mask == 0
        }
    }
}

pub(super) fn peers(
    instance: &Reader<'_>,
    node: Option<&Node>,
    claims: &mut Claims,
) -> Read<Vec<Peer>> {
    let mut here = Claims::default();
    let tables = instance.tables("peer")?;
    let read: Vec<_> = tables.iter().map(|table| peer(table, node, &mut here, claims)).collect();
    let read: Vec<_> = read.into_iter().collect::<Read<_>>()?;
    let family = read.first().and_then(|(_, addresses)| Some(Family::of(addresses.first()?.1)));
    for (table, (_, addresses)) in tables.iter().zip(&read) {
        for (at, address) in addresses {
            if family.is_some_and(|family| family != Family::of(*address)) {
                let what = format!(
                    "{address} is {}, and the first peer's address is not; the addresses of all \
                     peers of an instance are of one family",
                    Family::of(*address)
                );
                table.problem_at(*at, "address", what);
            }
        }
    }
    let peer = |(name, addresses): (String, Vec<(usize, IpAddr)>)| Peer {
        name,
        addresses: addresses.into_iter().map(|(_, address)| address).collect(),
    };
    Some(read.into_iter().map(peer).collect())
}

/// A peer's name, and its addresses with their places.
fn peer(
    table: &Reader<'_>,
    node: Option<&Node>,
    here: &mut Claims,
    claims: &mut Claims,
) -> Read<(String, Vec<(usize, IpAddr)>)> {
    let name = table.required("name", "\"node2\"", value::name);
    let addresses = table.one_or_more("address", "\"192.168.1.12\"", value::own_address);
    table.finish();
    let (name, addresses) = (name?, addresses?);
    if node.is_some_and(|node| node.name == name) {
        let what = format!("{name:?} is this node (node.name); list only the other nodes");
        table.problem("name", what);
    }
    here.take(table, "name", table.at("name"), format!("the name {name:?}"));
    for (at, address) in &addresses {
        here.take(table, "address", *at, format!("address {address}"));
        claims.peer(*at, *address);
    }
    if addresses.len() > MAX_PATHS {
        let what =
            format!("there are {} addresses, more than {MAX_PATHS}; remove some", addresses.len());
        table.problem("address", what);
    }
    Some((name, addresses))
}

/// A virtual router is of one family (RFC 9568 section 1): what of the instance must agree.
pub(super) fn one_family(table: &Reader<'_>, instance: &Instance) {
    let family = instance.family();
    if let Some(address) = instance.address {
        let what = format!(
            "{address} is {}, and the peers' addresses are {family}; write this node's {family} \
             address",
            Family::of(address)
        );
        if Family::of(address) != family {
            table.problem("address", what);
        }
        if instance.virtual_addresses.iter().any(|vip| vip.address == address) {
            let what = format!("{address} is a virtual address; write this node's own");
            table.problem("address", what);
        }
    }
    if !instance.virtual_addresses.iter().any(|vip| Family::of(vip.address) == family) {
        let what = format!(
            "has no {family} address, and the peers' addresses are {family}: adverts travel in \
             the peers' family and must name a virtual address of it; add one, or write the \
             peers' addresses of the other family"
        );
        table.problem("virtual_addresses", what);
    }
    if family == Family::V6 && instance.vrrp.version == 2 {
        let what = "2 is for IPv4 only (RFC 3768); set version = 3, or write the peers' IPv4 \
                    addresses";
        let at = table.table("vrrp").map_or(0, |vrrp| vrrp.at("version"));
        table.problem_below(at, "instance.vrrp.version", what.to_owned());
    }
}
