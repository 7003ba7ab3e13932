//! The two families, and several paths to a peer.

use super::*;
use crate::net::Family;

const ADDRESS: &str = "address = \"192.168.1.12\"";
const VIPS: &str = "[\"192.168.1.10/32\"]";

/// [`GOOD`] with these in the place of its addresses.
fn with(vips: &str, peer: &str) -> Result<Config, Errors> {
    parse(&GOOD.replace(VIPS, vips).replace(ADDRESS, &format!("address = {peer}")))
}

fn refusal(vips: &str, peer: &str) -> String {
    with(vips, peer).map_or_else(|errors| errors.to_string(), |_| String::new())
}

#[test]
fn an_instance_holds_addresses_of_both_families() {
    let config = with("[\"fd00::10/64\", \"192.168.1.10\", \"fe80::10\"]", "\"fd00::12\"").unwrap();
    let instance = &config.instances[0];
    let shown: Vec<_> = instance.virtual_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["fd00::10/64", "192.168.1.10/32", "fe80::10/128"]);
    assert_eq!(instance.family(), Family::V6);
    let config = with("[\"fd00::10/64\", \"192.168.1.10\"]", "\"192.168.1.12\"").unwrap();
    assert_eq!(config.instances[0].family(), Family::V4);
    // In the longest prefixes each address is a host's.
    assert!(with("[\"fd00::/128\", \"fd00:1::/127\"]", "\"fd00::12\"").is_ok());
}

#[test]
fn without_a_peer_the_own_address_tells_the_family_or_the_first_virtual_one() {
    let alone = GOOD
        .replace("[[instance.peer]]\nname = \"db2\"\naddress = \"192.168.1.12\"\n", "")
        .replace("version = 3", "version = 3\ntransport = \"multicast\"")
        .replace(VIPS, "[\"fd00::10\", \"10.0.0.1\"]");
    assert_eq!(parse(&alone).unwrap().instances[0].family(), Family::V6);
    let own = alone.replace("interface =", "address = \"10.0.0.2\"\ninterface =");
    assert_eq!(parse(&own).unwrap().instances[0].family(), Family::V4);
}

#[test]
fn a_virtual_router_is_of_one_family() {
    let vips = "instance.virtual_addresses: has no IPv6 address, and the peers' addresses are IPv6: \
                adverts travel in the peers' family and must name a virtual address of it; add one, \
                or write the peers' addresses of the other family";
    assert_eq!(refusal(VIPS, "\"fd00::12\""), format!("f:7: {vips}"));
    assert_eq!(
        refusal(VIPS, "[\"192.168.1.12\", \"fd00::12\"]"),
        "f:12: instance.peer.address: fd00::12 is IPv6, and the first peer's address is not; the \
         addresses of all peers of an instance are of one family"
    );
    let six = GOOD.replace(VIPS, "[\"fd00::10\"]").replace("192.168.1.12", "fd00::12");
    let said = |text: String| parse(&text).unwrap_err().to_string();
    assert_eq!(
        said(six.replace("version = 3", "version = 2")),
        "f:9: instance.vrrp.version: 2 is for IPv4 only (RFC 3768); set version = 3, or write the \
         peers' IPv4 addresses"
    );
    assert_eq!(
        said(six.replace("interface =", "address = \"192.168.1.11\"\ninterface =")),
        "f:5: instance.address: 192.168.1.11 is IPv4, and the peers' addresses are IPv6; write this \
         node's IPv6 address"
    );
    assert_eq!(
        said(six.replace("interface =", "address = \"fd00::10\"\ninterface =")),
        "f:5: instance.address: fd00::10 is a virtual address; write this node's own"
    );
}

#[test]
fn a_peer_has_an_address_for_each_path() {
    let config = with(VIPS, "[\"192.168.1.12\", \"10.0.0.12\"]").unwrap();
    let peer = &config.instances[0].peers[0];
    let addresses: Vec<_> = peer.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.168.1.12", "10.0.0.12"]);
    assert_eq!(peer.address().to_string(), "192.168.1.12");
    let at = "f:12: instance.peer.address";
    for (given, what) in [
        ("[]", "is empty; write for example \"192.168.1.12\""),
        (
            "[\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\", \"10.0.0.5\"]",
            "there are 5 addresses, more than 4; remove some",
        ),
        ("[\"10.0.0.1\", \"10.0.0.1\"]", "address 10.0.0.1 is taken by line 12; choose another"),
        ("[1]", "must be a string, not an integer; write for example \"192.168.1.12\""),
        ("1", "must be a string, not an integer; write for example \"192.168.1.12\""),
    ] {
        assert_eq!(refusal(VIPS, given), format!("{at}: {what}"));
    }
}
