//! Why something of `keepalived.conf` has no counterpart, or needs none.

use super::parse::Statement;

/// Something that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Its line.
    pub line: usize,
    /// What stands there.
    pub what: String,
    /// Why it is not taken over.
    pub why: &'static str,
}

const WATCHES: &str = "ogha watches the database itself, by the kernel";
const PROMOTES: &str = "ogha promotes the database itself; [instance.hooks] runs a command after \
                        each transition";
const MAIL: &str = "ogha sends no mail; [instance.hooks] can run a command that does";
const BALANCER: &str = "ogha is no load balancer";
const ROUTES: &str = "ogha sets no routes or rules; do it in the network's configuration";
const LINK: &str = "ogha watches the links that its probes and addresses need";
const ANNOUNCE: &str = "ogha announces at growing intervals, and answers for the address itself";
const PROCESS: &str = "this concerns keepalived's own processes";
const UNKNOWN: &str = "ogha has no counterpart";

/// Key and reason; a key that ends in `*` is a beginning.
const REASONS: &[(&str, &str)] = &[
    ("state", "the database says where the role belongs"),
    ("notify*", PROMOTES),
    ("smtp_alert*", MAIL),
    ("track_script", WATCHES),
    ("track_process", WATCHES),
    ("track_file", WATCHES),
    ("track_interface", LINK),
    ("track_bfd", "ogha's probes take 10 ms between nodes; BFD is not needed"),
    ("track_src_ip", LINK),
    ("dont_track_primary", LINK),
    ("linkbeat*", LINK),
    ("garp_*", ANNOUNCE),
    ("vrrp_garp*", ANNOUNCE),
    ("vrrp_gna*", ANNOUNCE),
    ("advert_*", UNKNOWN),
    ("lvs_sync*", BALANCER),
    ("virtual_routes", ROUTES),
    ("virtual_rules", ROUTES),
    ("use_vmac*", "ogha answers for the address with the interface's own MAC"),
    ("vmac_*", "ogha answers for the address with the interface's own MAC"),
    ("native_ipv6", "the addresses say of which family an instance is"),
    ("accept", "the gate says what may pass"),
    ("no_accept", "the gate says what may pass"),
    ("strict_mode", "adverts are always validated as RFC 9568 says"),
    ("mcast_src_ip", "adverts come from the node's own address; set `address` if it has several"),
    ("unicast_fault_no_peer", UNKNOWN),
    ("check_unicast_src", "only configured peers are heard"),
    ("preempt_delay", "between the nodes of a database the term decides, and nobody preempts"),
    ("kernel_rx_buf_size", PROCESS),
    ("debug", "`--log` of `ogha-agent run` says how much is told"),
    ("skip_check_adv_addr", "adverts are always validated as RFC 9568 says"),
];

const BLOCKS: &[(&str, &str)] = &[
    ("vrrp_script", WATCHES),
    ("vrrp_track_process", WATCHES),
    ("vrrp_track_file", WATCHES),
    ("track_file", WATCHES),
    ("vrrp_sync_group", "instances move each by itself, with its database"),
    ("virtual_server", BALANCER),
    ("virtual_server_group", BALANCER),
    ("bfd_instance", "ogha's probes take 10 ms between nodes; BFD is not needed"),
    ("static_*", ROUTES),
    ("garp_group", ANNOUNCE),
    ("linkbeat_interfaces", LINK),
    ("interface_up_down_delays", LINK),
];

const GLOBALS: &[(&str, &str)] = &[
    ("notification_email*", MAIL),
    ("smtp_*", MAIL),
    ("router_id", "node.name is the name by which the peers know this node"),
    ("enable_script_security", "ogha runs no scripts in its path"),
    ("script_user", "[instance.hooks] runs as the agent does, as root"),
    ("vrrp_strict", "adverts are always validated as RFC 9568 says"),
    ("vrrp_skip_check_adv_addr", "adverts are always validated as RFC 9568 says"),
    ("vrrp_garp*", ANNOUNCE),
    ("vrrp_gna*", ANNOUNCE),
    ("vrrp_iptables", "the gate is no rule of iptables"),
    ("vrrp_ipsets", "the gate is no rule of iptables"),
    ("vrrp_mcast_group*", "adverts go to the group that the RFC names"),
    ("enable_traps", UNKNOWN),
    ("snmp*", UNKNOWN),
    ("enable_snmp*", UNKNOWN),
    ("enable_dbus", UNKNOWN),
    ("lvs_*", BALANCER),
    ("checker_*", PROCESS),
    ("vrrp_*", PROCESS),
    ("process_*", PROCESS),
    ("max_auto_priority", PROCESS),
    ("net_namespace", "start the agent in the namespace"),
    ("instance", PROCESS),
    ("use_pid_dir", PROCESS),
];

/// Of a statement within a `vrrp_instance`.
pub(super) fn of_instance(statement: &Statement) -> Left {
    left(statement, REASONS)
}

/// Of a block of the file.
pub(super) fn of_block(statement: &Statement) -> Left {
    left(statement, BLOCKS)
}

/// Of a statement within `global_defs`; `None` where it is taken over.
pub(super) fn of_global(statement: &Statement) -> Option<Left> {
    (statement.key() != "vrrp_version").then(|| left(statement, GLOBALS))
}

fn left(statement: &Statement, reasons: &'static [(&str, &str)]) -> Left {
    let key = statement.key();
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => key == pattern,
    };
    let found = reasons.iter().find(|(pattern, _)| matches(pattern));
    let block = if statement.block.is_some() { " {..}" } else { "" };
    let mut what = format!("{}{block}", statement.words.join(" "));
    if key.contains("pass") {
        what = format!("{key} ..");
    }
    Left { line: statement.line, what, why: found.map_or(UNKNOWN, |(_, why)| why) }
}
