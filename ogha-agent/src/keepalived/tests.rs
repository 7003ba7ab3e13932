//! Files as they are met in real life, and what becomes of them.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Transport};

/// A primary and a standby of openGauss, as its documentation's readers set them up.
const OPENGAUSS: &str = r#"! Configuration File for keepalived
global_defs {
    router_id opengaussdb1
    script_user root
    enable_script_security
}

vrrp_script check_gauss {
    script "/etc/keepalived/check_opengauss.sh"
    interval 2
    weight -20        # below the standby's
}

vrrp_instance VI_1 {
    state BACKUP
    interface ens33
    virtual_router_id 59
    priority 100
    advert_int 1
    nopreempt
    authentication {
        auth_type PASS
        auth_pass 1111
    }
    unicast_src_ip 192.168.1.11
    unicast_peer {
        192.168.1.12
    }
    virtual_ipaddress {
        192.168.1.10
    }
    track_script {
        check_gauss
    }
    notify_master "/etc/keepalived/promote.sh master"
}
"#;

/// Version 3, both families of instances, braces as somebody liked them.
const TWO_INSTANCES: &str = r#"
global_defs { vrrp_version 3
  notification_email { root@localhost } }
vrrp_sync_group G { group { V4
 V6 } }
vrrp_instance V4
{
  interface eth0
  virtual_router_id 7   priority_is_not_here 1
  priority 255
  advert_int 0.055
  preempt
  virtual_ipaddress { 10.0.0.9/24 dev eth0 label eth0:vip
    10.0.1.9/24 dev eth1 }
}
vrrp_instance V6 {
  interface eth0
  virtual_router_id 7
  native_ipv6
  unicast_peer { fd00::2
  fd00::3 }
  virtual_ipaddress { fd00::9/64 }
}
"#;

/// A load balancer that has a VIP too.
const BALANCER: &str = "
vrrp_instance web {
  state MASTER
  virtual_router_id 51
  priority 150
  advert_int 3
  authentication { auth_type AH
                   auth_pass secretsecret }
  garp_master_delay 5
  track_interface { eth0
 eth1 weight -10 }
  smtp_alert
  virtual_ipaddress { 203.0.113.5/29 dev bond0 }
}
virtual_server 203.0.113.5 443 {
  delay_loop 6
  real_server 10.0.0.1 443 { TCP_CHECK { connect_timeout 3 } }
}
";

fn checked(text: &str) -> Config {
    Config::parse(text, Path::new("ogha.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// As a person would fill the blanks of the file.
fn filled(text: &str) -> String {
    let mut number = 0;
    let mut lines = Vec::new();
    let mut table = "";
    for line in text.lines() {
        if line.starts_with('[') {
            table = line;
        }
        number += 1;
        let value = match line.split(' ').next().unwrap() {
            "name" => format!("node-{number}"),
            "address" => format!("203.0.113.{}", 2),
            "kind" => "none".to_owned(),
            "interface" => "eth0".to_owned(),
            _ => String::new(),
        };
        assert!(
            !line.contains(BLANK) || !value.is_empty() || line.starts_with('#'),
            "{table} {line}"
        );
        lines.push(line.replace(BLANK, &value));
    }
    lines.join("\n")
}

#[test]
fn an_opengauss_pair_becomes_one() {
    let text = import(OPENGAUSS).unwrap();
    let refused = Config::parse(&text, Path::new("ogha.toml")).unwrap_err().to_string();
    assert!(refused.contains("node.name") || refused.contains("name"), "{refused}");
    let config = checked(&filled(&text));
    let [instance] = &config.instances[..] else { panic!("{config:?}") };
    assert_eq!((instance.name.as_str(), instance.interface.as_str()), ("VI_1", "ens33"));
    assert_eq!((instance.vrid.get(), instance.priority.get()), (59, 100));
    assert_eq!(instance.virtual_addresses[0].to_string(), "192.168.1.10/32");
    assert_eq!(instance.address, Some("192.168.1.11".parse().unwrap()));
    assert_eq!(instance.peers[0].address().to_string(), "192.168.1.12");
    let vrrp = &instance.vrrp;
    assert_eq!((vrrp.version, vrrp.preempt, vrrp.transport), (2, false, Transport::Unicast));
    assert_eq!(vrrp.auth_pass.as_deref(), Some("1111"));
    for (line, what) in [
        (3, "router_id opengaussdb1"),
        (8, "vrrp_script check_gauss {..}"),
        (15, "state BACKUP"),
        (31, "track_script {..}"),
        (34, "notify_master /etc/keepalived/promote.sh master"),
    ] {
        assert!(text.contains(&format!("# line {line}: {what}\n")), "{what}\n{text}");
    }
}

#[test]
fn versions_and_families_are_kept() {
    let text = import(TWO_INSTANCES).unwrap();
    let config =
        checked(&filled(&text).replace("address = \"203.0.113.2\"", "address = \"10.0.0.2\""));
    let [v4, v6] = &config.instances[..] else { panic!("{config:?}") };
    assert_eq!(v4.vrrp.version, 3);
    assert_eq!((v4.priority.get(), v4.vrrp.preempt), (254, true));
    assert_eq!(v4.vrrp.advert_interval.get(), 6, "55 ms, rounded up to centiseconds");
    assert_eq!(v4.vrrp.transport, Transport::Multicast);
    assert_eq!(v4.virtual_addresses.len(), 1, "the other is on another device");
    assert!(text.contains("# line 14: 10.0.1.9/24 dev eth1\n"), "{text}");
    let peers: Vec<_> = v6.peers.iter().map(|peer| peer.address().to_string()).collect();
    assert_eq!(peers, ["fd00::2", "fd00::3"]);
    assert_eq!(v6.virtual_addresses[0].to_string(), "fd00::9/64");
}

#[test]
fn what_ogha_is_not_is_said() {
    let text = import(BALANCER).unwrap();
    let config = checked(&filled(&text));
    assert_eq!(config.instances[0].interface, "bond0", "the addresses say on which device");
    assert!(text.contains("virtual_server 203.0.113.5 443 {..}\n#   ogha is no load balancer"));
    assert!(text.contains("auth_type AH"), "{text}");
    assert!(text.contains("garp_master_delay 5") && text.contains("track_interface {..}"));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let instance = |inner: &str| format!("vrrp_instance V {{\ninterface eth0\n{inner}\n}}\n");
    for (text, line, word) in [
        (String::new(), 1, "no vrrp_instance"),
        ("vrrp_instance V {\n".to_owned(), 1, "not closed"),
        ("}\n".to_owned(), 1, "closes no block"),
        ("\n{\n".to_owned(), 2, "nothing says of what"),
        (instance("virtual_router_id 256"), 3, "1 to 255"),
        (instance("virtual_router_id"), 3, "no value"),
        (instance("virtual_router_id 1 2"), 3, "more than one"),
        (instance("advert_int soon"), 3, "seconds"),
        (instance("virtual_router_id 5"), 1, "no virtual_ipaddress"),
        (instance("virtual_ipaddress { 10.0.0.1 }"), 1, "no virtual_router_id"),
        (instance("virtual_router_id 5\nvirtual_ipaddress {\n10.0.0.256\n}"), 5, "no address"),
        (instance("virtual_router_id 5\nvirtual_ipaddress {\n10.0.0.1/33\n}"), 5, "1 to 32"),
        (instance("notify \"x"), 3, "quote"),
        ("$IF=eth0\n".to_owned(), 1, "definition"),
        ("include other.conf\n".to_owned(), 1, "another file"),
        (format!("{}{}", "a {\n".repeat(40), "}\n".repeat(40)), 17, "deep"),
    ] {
        let error = import(&text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
}

proptest! {
    /// Whatever a file holds: an answer, or an error with a line that it has.
    #[test]
    fn nothing_makes_it_panic(text in "([a-z_]{1,12}|[0-9./:]{1,12}|[{}#!\"'$@ \n]|\\PC){0,60}") {
        if let Err(error) = import(&text) {
            prop_assert!(error.line >= 1 && error.line <= text.lines().count().max(1));
        }
    }

    /// Real files with anything in one place of theirs: what is written is TOML, whatever it says.
    #[test]
    fn what_is_written_is_toml(
        file in prop::sample::select(vec![OPENGAUSS, TWO_INSTANCES, BALANCER]),
        at in any::<prop::sample::Index>(),
        put in "[a-z{}\"'\\\\#\n \\PC]{0,6}",
    ) {
        let mut at = at.index(file.len());
        while !file.is_char_boundary(at) {
            at -= 1;
        }
        let text = format!("{}{put}{}", &file[..at], &file[at..]);
        if let Ok(written) = import(&text) {
            prop_assert!(written.parse::<toml::Table>().is_ok(), "{}", written);
        }
    }
}
