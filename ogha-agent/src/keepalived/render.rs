//! `ogha.toml`, for people to read and to fill in.

use std::fmt::Write as _;

use super::{BLANK, instance::Instance, reasons::Left};

/// The file. Writing to a string does not fail.
pub(super) fn render(instances: &[Instance], left: &[Left]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "# Made from a keepalived.conf. Replace each \"{BLANK}\", then run `ogha-agent check`.\n\n\
         [node]\n\
         name = \"{BLANK}\"                      # this node's; its peers list it under this name"
    );
    for instance in instances {
        write_instance(&mut out, instance);
    }
    write_left(&mut out, "Of the whole file, not taken over:", left);
    out
}

fn write_instance(out: &mut String, instance: &Instance) {
    let interface = instance.interface.as_deref().unwrap_or(BLANK);
    let addresses: Vec<_> = instance.addresses.iter().map(|a| quoted(a)).collect();
    let _ = write!(out, "\n[[instance]]\nname = {}\n", quoted(&instance.name));
    let _ = writeln!(out, "interface = {}", quoted(interface));
    if let Some(address) = instance.address {
        let _ = writeln!(out, "address = \"{address}\"");
    }
    let _ = writeln!(out, "virtual_router_id = {}", instance.vrid);
    let _ = writeln!(out, "priority = {}", instance.priority);
    let _ = writeln!(out, "virtual_addresses = [{}]", addresses.join(", "));
    for remark in &instance.remarks {
        let _ = writeln!(out, "# {}", one_line(remark));
    }
    write_vrrp(out, instance);
    write_peers(out, instance);
    write_rest(out);
    write_left(out, &format!("Of {}, not taken over:", instance.name), &instance.left);
}

fn write_vrrp(out: &mut String, instance: &Instance) {
    let transport = if instance.peers.is_empty() { "multicast" } else { "unicast" };
    let millis = instance.advert_interval.as_millis();
    let _ = write!(
        out,
        "\n[instance.vrrp]\n\
         version = {}                           # 3 allows adverts each 10 ms; all nodes the same\n\
         advert_interval = \"{millis}ms\"\n\
         preempt = {}                       # of a database nobody is preempted\n\
         transport = \"{transport}\"\n",
        instance.version, instance.preempt
    );
    if let Some(password) = &instance.auth_pass {
        let _ = writeln!(out, "auth_pass = {}", quoted(password));
    }
}

fn write_peers(out: &mut String, instance: &Instance) {
    let blank = [BLANK.to_owned()];
    let known: Vec<_> = instance.peers.iter().map(ToString::to_string).collect();
    let peers = if known.is_empty() { &blank[..] } else { &known[..] };
    for peer in peers {
        let _ = write!(
            out,
            "\n[[instance.peer]]\n\
             name = \"{BLANK}\"                      # the other node's node.name\n\
             address = {}\n",
            quoted(peer)
        );
    }
}

fn write_rest(out: &mut String) {
    let _ = write!(
        out,
        "\n[instance.liveness]\n\
         key_file = \"/etc/ogha/cluster.key\"      # `openssl rand -hex 16`, the same on all nodes\n\
         \n[instance.database]\n\
         kind = \"{BLANK}\"                      # opengauss, postgresql, or none\n\
         # port = 26000\n\
         # data_dir = \"/gauss/data/db1\"         # opengauss and postgresql need both\n\
         # user = \"omm\"\n\
         \n[instance.arbiter]\n\
         kind = \"{BLANK}\"                      # none, gateway, or etcd: who decides in a cut network\n"
    );
}

fn write_left(out: &mut String, title: &str, left: &[Left]) {
    if left.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n# {title}");
    for Left { line, what, why } in left {
        let _ = writeln!(out, "# line {line}: {}\n#   {why}", one_line(what));
    }
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
