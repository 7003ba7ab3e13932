//! `gs_om`: `-t status [--detail]` and `-t refreshconf`.

use std::{
    fs,
    net::{TcpStream, ToSocketAddrs as _},
    thread,
    time::Duration,
};

use nix::unistd::geteuid;

use super::{
    node::{Node, Peer, Started},
    report::raw,
    server::CONNECT,
};

const FAILED: u8 = 1;
const DASHES: &str = "-----------------------------------------------------------------------\n";

/// Runs a command line, without the program's name, and returns its exit code.
#[must_use]
pub fn run(node: &Node, arguments: &[String]) -> u8 {
    if geteuid().is_root() {
        eprintln!("[GAUSS-50105] : Cannot run this script as a user with the root permission.");
        return FAILED;
    }
    let faults = node.faults();
    if faults.hung {
        loop {
            thread::park();
        }
    }
    let kind = arguments.iter().position(|word| word == "-t").and_then(|at| arguments.get(at + 1));
    let detail = arguments.iter().any(|word| word == "--detail");
    match kind.map(String::as_str) {
        Some("refreshconf") => refreshconf(node),
        Some("status") if detail => status_detail(node),
        Some("query") => status_detail(node),
        Some("status") => status(node),
        Some(other) => {
            eprintln!("opengauss-sim: gs_om -t {other} is not simulated");
            FAILED
        }
        None => {
            eprintln!("[GAUSS-50001] : Incorrect parameter. Parameter '-t' is required.");
            FAILED
        }
    }
}

/// What is known of a node: role and state as `gs_om` shows them.
struct Seen {
    role: String,
    state: String,
    host_answers: bool,
}

fn look(node: &Node, peer: &Peer) -> Seen {
    let here = std::ptr::eq(node.here(), peer);
    let patience = Duration::from_millis(node.faults().peer_timeout_ms);
    let host_answers = here || host_answers(peer, patience);
    let asked =
        "select local_role, db_state, detail_information from pg_stat_get_stream_replications()";
    let rows = if here {
        node.ask(asked, CONNECT).ok()
    } else {
        host_answers.then(|| node.ask_peer(peer, asked, patience).ok()).flatten()
    };
    let row = rows.and_then(|rows| rows.into_iter().next());
    let (role, state) = match row.as_deref() {
        Some([Some(role), Some(state), Some(detail)]) => {
            // The real one keeps the first word of each, and repairs this one.
            let word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
            let state = match state.as_str() {
                "Need repair" => format!("Need repair({})", word(detail).trim_end_matches('.')),
                other => word(other),
            };
            (word(role), state)
        }
        _ if host_answers => ("Down".to_owned(), "Manually stopped".to_owned()),
        _ => ("Unknown".to_owned(), "Unknown".to_owned()),
    };
    Seen { role, state, host_answers }
}

/// In place of ssh: a host that refuses a connection is there.
fn host_answers(peer: &Peer, patience: Duration) -> bool {
    if peer.address.is_empty() {
        return true;
    }
    let address =
        (peer.address.as_str(), peer.port).to_socket_addrs().ok().and_then(|mut a| a.next());
    let Some(address) = address else { return false };
    match TcpStream::connect_timeout(&address, patience) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

fn refreshconf(node: &Node) -> u8 {
    if node.nodes.len() < 2 {
        raw("No need to generate dynamic configuration file for one node.\n");
        return 0;
    }
    raw("Generating dynamic configuration file for all nodes.\n");
    let faults = node.faults();
    let file = node.bin_dir.join("cluster_dynamic_config");
    // As the real one: the old file goes first, and a failure leaves none. The directory may be
    // another user's here; then there never was one.
    drop(fs::remove_file(&file));
    thread::sleep(Duration::from_millis(faults.refreshconf_delay_ms));
    let seen: Vec<_> = node.nodes.iter().map(|peer| (peer, look(node, peer))).collect();
    let failed = "[GAUSS-50205] : Failed to write dynamic configuration file. Error: \n";
    if seen.iter().filter(|(_, seen)| seen.role == "Primary").count() != 1 {
        raw(&format!("{failed}[GAUSS-51230] : The number of master dn must equal to 1.\n"));
        return FAILED;
    }
    if let Some((lost, _)) =
        seen.iter().find(|(_, seen)| !seen.host_answers || faults.refreshconf_fails)
    {
        let path = file.display();
        raw(&format!(
            "{failed}[GAUSS-51400] : Failed to execute the command: export \
             LD_LIBRARY_PATH=/usr/lib64;/usr/bin/scp {path} {}:{path} . Error:\n\
             ssh: connect to host {} port 22: No route to host\nlost connection\n",
            lost.address, lost.address
        ));
        return FAILED;
    }
    let roles: String = seen
        .iter()
        .map(|(peer, seen)| format!("{}={}\n", peer.name, u8::from(seen.role != "Primary")))
        .collect();
    drop(fs::write(&file, roles));
    raw("Successfully generated dynamic configuration file.\n");
    0
}

/// Any doubt about the primary makes the cluster `Unavailable`, any about a standby `Degraded`.
fn cluster_state(seen: &[(&Peer, Seen)]) -> &'static str {
    let primaries: Vec<_> = seen.iter().filter(|(_, seen)| seen.role == "Primary").collect();
    if primaries.len() != 1 || primaries[0].1.state != "Normal" {
        return "Unavailable";
    }
    let healthy = |seen: &Seen| {
        matches!(seen.role.as_str(), "Primary" | "Standby" | "Cascade") && seen.state == "Normal"
    };
    if seen.iter().all(|(_, seen)| healthy(seen)) { "Normal" } else { "Degraded" }
}

fn status(node: &Node) -> u8 {
    let seen: Vec<_> = node.nodes.iter().map(|peer| (peer, look(node, peer))).collect();
    raw(&format!(
        "{DASHES}\ncluster_name    : simulated\ncluster_state   : {}\nredistributing  : No\n\n{DASHES}",
        cluster_state(&seen)
    ));
    0
}

fn status_detail(node: &Node) -> u8 {
    let seen: Vec<_> = node.nodes.iter().map(|peer| (peer, look(node, peer))).collect();
    let names = node.nodes.iter().map(|peer| peer.name.len()).max().unwrap_or(0);
    let paths = node.nodes.iter().map(|peer| path(peer).len()).max().unwrap_or(0);
    let (node_width, instance_width) = (names + 4, paths + 9 + 7);
    raw(&format!(
        "[   Cluster State   ]\n\ncluster_state   : {}\nredistributing  : No\n\
         current_az      : AZ_ALL\n\n[  Datanode State   ]\n\n",
        cluster_state(&seen)
    ));
    raw(&format!(
        "{:<node_width$}{:<16}{:<10}{:<instance_width$}state\n{}\n",
        "    node",
        "node_ip",
        "port",
        "instance",
        "-".repeat(node_width + instance_width + 16 + 1 + 10 + 1 + 17 + 1 + 1)
    ));
    for (index, (peer, seen)) in seen.iter().enumerate() {
        let started = if peer.started == Started::Primary { "P" } else { "S" };
        raw(&format!(
            "{:<2} {:<names$} {:<15} {:<10} {} {:<paths$} {started:>3} {:<7} {}\n",
            index + 1,
            peer.name,
            peer.address,
            peer.port,
            6001 + index,
            path(peer),
            seen.role,
            seen.state
        ));
    }
    0
}

fn path(peer: &Peer) -> String {
    peer.data_dir.display().to_string()
}
