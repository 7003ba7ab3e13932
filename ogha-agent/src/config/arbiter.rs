//! `[instance.arbiter]`

use std::net::IpAddr;

use ogha_common::failover;
use toml::de::DeValue;

use super::{
    reader::{Read, Reader},
    types::{Arbiter, Etcd, Gateway, Instance, Login, Tls},
    value,
};

/// How many addresses may be asked.
pub const MAX_GATEWAYS: usize = 8;
/// How many members may be named; an etcd has rarely more than five.
const MAX_ENDPOINTS: usize = 8;

#[derive(Clone, Copy, PartialEq)]
enum ArbiterWord {
    None,
    Gateway,
    Etcd,
}

const KINDS: [(&str, ArbiterWord); 3] =
    [("none", ArbiterWord::None), ("gateway", ArbiterWord::Gateway), ("etcd", ArbiterWord::Etcd)];

/// Whose each key is.
const KEYS: [(&str, ArbiterWord); 8] = [
    ("addresses", ArbiterWord::Gateway),
    ("endpoints", ArbiterWord::Etcd),
    ("ca_file", ArbiterWord::Etcd),
    ("cert_file", ArbiterWord::Etcd),
    ("key_file", ArbiterWord::Etcd),
    ("username", ArbiterWord::Etcd),
    ("password_file", ArbiterWord::Etcd),
    ("prefix", ArbiterWord::Etcd),
];

impl ArbiterWord {
    fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl Arbiter {
    /// The word that stands for it in the file and in `status`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gateway(_) => "gateway",
            Self::Etcd(_) => "etcd",
        }
    }

    /// What the decision core wants to know of it.
    #[must_use]
    pub const fn kind(&self) -> failover::Arbiter {
        match self {
            Self::None => failover::Arbiter::None,
            Self::Gateway(_) => failover::Arbiter::Gateway,
            Self::Etcd(_) => failover::Arbiter::Etcd,
        }
    }
}

/// The operator must choose the arbiter of a database, for none is a choice with a price; an
/// address without a database has nothing to lose.
pub(super) fn read(instance: &Reader<'_>, guards_data: bool) -> Read<Arbiter> {
    let missing = "is missing and has no default; add [instance.arbiter] with kind = \"etcd\" or \
                   \"gateway\", or kind = \"none\" if you accept that without an arbiter a cut \
                   network looks like a dead peer, so that both nodes may promote";
    if !instance.has("arbiter") && guards_data {
        instance.problem("arbiter", missing);
        return None;
    }
    let table = instance.table("arbiter")?;
    if !table.has("kind") && guards_data {
        table.problem("kind", missing);
    }
    let kind = table.maybe("kind", |value| value::word(value, &KINDS));
    table.finish();
    let kind = kind?.or((!guards_data).then_some(ArbiterWord::None))?;
    for (key, owner) in KEYS {
        if owner != kind && table.has(key) {
            let what = format!(
                "belongs to kind = {:?} and means nothing with {:?}; remove it",
                owner.name(),
                kind.name()
            );
            table.problem(key, what);
        }
    }
    match kind {
        ArbiterWord::None => Some(Arbiter::None),
        ArbiterWord::Gateway => gateway(&table).map(Arbiter::Gateway),
        ArbiterWord::Etcd => etcd(&table).map(Arbiter::Etcd),
    }
}

fn gateway(table: &Reader<'_>) -> Read<Gateway> {
    let key = "addresses";
    let example = "[\"192.168.1.1\"]";
    let read = table.list(key, example, value::own_address)?;
    let addresses: Vec<IpAddr> = distinct(table, key, read)?;
    few(table, key, addresses.len(), MAX_GATEWAYS)?;
    Some(Gateway { addresses })
}

fn etcd(table: &Reader<'_>) -> Read<Etcd> {
    let endpoints = endpoints(table);
    let ca_file = table.maybe("ca_file", value::path);
    let identity = pair(table, ("cert_file", value::path), ("key_file", value::path));
    let login = pair(table, ("username", username), ("password_file", value::path));
    let prefix = table.or("prefix", "/ogha/".to_owned(), prefix);
    let (endpoints, ca_file, identity) = (endpoints?, ca_file?, identity?);
    let encrypted = endpoints.iter().all(|endpoint| endpoint.starts_with("https://"));
    let tls = match (encrypted, ca_file) {
        (true, Some(ca_file)) => Some(Tls { ca_file, identity }),
        (true, None) => {
            let what = "is missing, and the endpoints are https; name the file with the \
                        certificate of who signed the members' certificates";
            table.problem("ca_file", what);
            return None;
        }
        (false, ca_file) => {
            let given = [("ca_file", ca_file.is_some()), ("cert_file", identity.is_some())];
            for (key, _) in given.into_iter().filter(|(_, given)| *given) {
                table.problem(key, "means nothing where the endpoints are http; write https");
            }
            None
        }
    };
    let login = login?.map(|(username, password_file)| Login { username, password_file });
    Some(Etcd { endpoints, tls, login, prefix: prefix? })
}

fn endpoints(table: &Reader<'_>) -> Read<Vec<String>> {
    let key = "endpoints";
    let read = table.list(key, "[\"https://10.0.0.1:2379\"]", endpoint)?;
    let scheme = |endpoint: &str| endpoint.split(':').next().unwrap_or_default().to_owned();
    let first = read.first().map(|(_, endpoint)| scheme(endpoint)).unwrap_or_default();
    if let Some((at, other)) = read.iter().find(|(_, endpoint)| scheme(endpoint) != first) {
        let what = format!("{other} is no {first} as the first is; write all alike");
        table.problem_at(*at, key, what);
        return None;
    }
    let endpoints = distinct(table, key, read)?;
    few(table, key, endpoints.len(), MAX_ENDPOINTS)?;
    Some(endpoints)
}

/// `https://host:port`, and nothing behind it but a slash, which is dropped.
fn endpoint(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value, "\"https://10.0.0.1:2379\"")?;
    let whole = text.strip_suffix('/').unwrap_or(text);
    let rest = ["https://", "http://"].iter().find_map(|scheme| whole.strip_prefix(scheme));
    let (host, port) = rest.and_then(|rest| rest.rsplit_once(':')).unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = |host: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !host.is_empty() && host.chars().all(allowed)
    };
    let host_is_good = bare.map_or_else(|| named(host), |v6| v6.parse::<IpAddr>().is_ok());
    let port_is_good = port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+');
    if host_is_good && port_is_good {
        return Ok(whole.to_owned());
    }
    Err(format!("{text:?} is no endpoint; write one such as \"https://10.0.0.1:2379\""))
}

/// The address in an endpoint, where it is one and no name.
fn address_in(endpoint: &str) -> Option<IpAddr> {
    let (_, rest) = endpoint.split_once("://")?;
    let (host, _) = rest.rsplit_once(':')?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn username(value: &DeValue<'_>) -> Result<String, String> {
    value::text(value, "\"ogha\"").map(str::to_owned)
}

fn prefix(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value, "\"/ogha/\"")?;
    if text.len() > 256 || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?} is no prefix; use at most 256 octets, none of them blank"));
    }
    Ok(text.to_owned())
}

type Parser<T> = fn(&DeValue<'_>) -> Result<T, String>;

/// Two keys that only mean something together.
fn pair<A, B>(
    table: &Reader<'_>,
    (one, parse_one): (&str, Parser<A>),
    (other, parse_other): (&str, Parser<B>),
) -> Read<Option<(A, B)>> {
    for (there, missing) in [(one, other), (other, one)] {
        if table.has(there) && !table.has(missing) {
            table.problem(there, format!("needs {missing} beside it; add it"));
            return None;
        }
    }
    let (first, second) = (table.maybe(one, parse_one), table.maybe(other, parse_other));
    Some(first?.zip(second?))
}

/// The values, if none stands twice.
fn distinct<T: PartialEq + std::fmt::Display>(
    table: &Reader<'_>,
    key: &str,
    read: Vec<(usize, T)>,
) -> Read<Vec<T>> {
    let mut seen = Vec::new();
    for (at, value) in read {
        if seen.contains(&value) {
            table.problem_at(at, key, format!("{value} stands twice; remove one"));
            return None;
        }
        seen.push(value);
    }
    Some(seen)
}

fn few(table: &Reader<'_>, key: &str, count: usize, most: usize) -> Read<()> {
    if count > most {
        table.problem(key, format!("there are {count}, more than {most}; remove some"));
        return None;
    }
    Some(())
}

/// An arbiter is somebody else: neither a node of the instance nor an address that moves with it.
pub(super) fn is_elsewhere(table: &Reader<'_>, instance: &Instance) {
    let Some(arbiter) = table.table("arbiter") else { return };
    let whose = |address: IpAddr| {
        if instance.virtual_addresses.iter().any(|vip| vip.address == address) {
            return Some("a virtual address".to_owned());
        }
        if instance.address == Some(address) {
            return Some("this node's own address".to_owned());
        }
        let peer = instance.peers.iter().find(|peer| peer.addresses.contains(&address))?;
        Some(format!("the address of the peer {:?}", peer.name))
    };
    match &instance.arbiter {
        Arbiter::None => {}
        Arbiter::Gateway(gateway) => {
            for address in &gateway.addresses {
                if let Some(whose) = whose(*address) {
                    let what = format!(
                        "{address} is {whose}; name what answers whoever of the nodes is dead"
                    );
                    arbiter.problem("addresses", what);
                }
            }
        }
        // A member may run on a node: it is the majority that decides.
        Arbiter::Etcd(etcd) => {
            let moves = |endpoint: &&String| {
                address_in(endpoint).is_some_and(|address| {
                    instance.virtual_addresses.iter().any(|vip| vip.address == address)
                })
            };
            for endpoint in etcd.endpoints.iter().filter(moves) {
                let what = format!("{endpoint} is at a virtual address; name each member's own");
                arbiter.problem("endpoints", what);
            }
        }
    }
}
