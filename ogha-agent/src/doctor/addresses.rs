//! The virtual addresses: whether the database listens at them, and whether neighbours look for them there.

use std::{collections::HashMap, fs, net::IpAddr};

use super::Findings;
use crate::{config::Instance, net::path};

/// Whether a server that was started without a virtual address answers there once it has come.
pub(super) fn examine_listening(
    findings: &mut Findings,
    instance: &Instance,
    settings: &HashMap<String, String>,
) {
    let Some(listen) = settings.get("listen_addresses") else { return };
    let vips = || instance.virtual_addresses.iter().map(|vip| vip.address);
    let before = findings.all.len();
    for vip in vips() {
        match listening(listen, vip) {
            Listening::Any => {}
            Listening::Named if binds_foreign(vip) => {}
            Listening::Named => findings.fail(format!(
                "listen_addresses = '{listen}' names {vip}, which is not there when the server starts, so \
                 that it does not listen there: set listen_addresses = '*' and start it again"
            )),
            Listening::Not => findings.fail(format!(
                "the database does not listen at {vip} (listen_addresses = '{listen}'): clients of the \
                 virtual address are refused. Set listen_addresses = '*' and start it again"
            )),
        }
    }
    if let Some(port) = settings.get("port")
        && instance.database.port().is_some_and(|configured| configured.to_string() != *port)
    {
        findings.fail(format!(
            "the database has port = {port}, and [instance.database] another: set the same"
        ));
    }
    if findings.all.len() == before && vips().next().is_some() {
        findings.ok("the database listens at the virtual addresses");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    /// At all addresses of the family.
    Any,
    /// At this one, if it is there at the start.
    Named,
    Not,
}

fn listening(listen: &str, vip: IpAddr) -> Listening {
    let words = || listen.split(',').map(|word| word.trim().trim_matches('"'));
    let any = if vip.is_ipv4() { "0.0.0.0" } else { "::" };
    if words().any(|word| word == "*" || word == any) {
        Listening::Any
    } else if words().any(|word| word.parse() == Ok(vip)) {
        Listening::Named
    } else {
        Listening::Not
    }
}

/// Whether the kernel lets a server listen at an address that is not there yet.
fn binds_foreign(vip: IpAddr) -> bool {
    let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
    let setting = fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    setting.is_ok_and(|value| value.trim() == "1")
}

/// The virtual addresses that no network of the interface holds, in words. Neighbours ask for an address
/// only in the network that it belongs to.
pub(crate) fn outside(instance: &Instance) -> Vec<String> {
    let moving: Vec<_> = instance.virtual_addresses.iter().map(|vip| vip.address).collect();
    let Ok(networks) = path::networks(&instance.interface, &moving) else { return Vec::new() };
    let shown: Vec<_> = networks.iter().map(ToString::to_string).collect();
    let outside = moving.iter().filter(|vip| !networks.iter().any(|network| network.holds(**vip)));
    outside
        .map(|vip| {
            format!(
                "virtual address {vip} is in no network of {} ({}): hosts there do not look for it on \
                 that link, unless a route leads to it; correct virtual_addresses or interface",
                instance.interface,
                if shown.is_empty() { "it has no address".to_owned() } else { shown.join(", ") }
            )
        })
        .collect()
}

pub(super) fn examine_networks(findings: &mut Findings, instance: &Instance) {
    let outside = outside(instance);
    if outside.is_empty() {
        findings.ok(format!("the virtual addresses belong to networks of {}", instance.interface));
    }
    outside.into_iter().for_each(|text| findings.warn(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_listens_at() {
        let v4 = "192.0.2.10".parse().unwrap();
        let v6 = "2001:db8::10".parse().unwrap();
        for (listen, vip, expected) in [
            ("*", v4, Listening::Any),
            ("localhost, 0.0.0.0", v4, Listening::Any),
            ("localhost, 0.0.0.0", v6, Listening::Not),
            ("::", v6, Listening::Any),
            ("::", v4, Listening::Not),
            ("192.0.2.11,192.0.2.10", v4, Listening::Named),
            ("localhost", v4, Listening::Not),
            ("", v4, Listening::Not),
        ] {
            assert_eq!(listening(listen, vip), expected, "{listen} {vip}");
        }
    }
}
