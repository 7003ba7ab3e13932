//! What is read, and what is left out.

use ogha_common::units::{Centis, Priority, Vrid};

use super::*;
use crate::database::Unit;

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.node.name, "db1");
    assert_eq!(config.node.state_dir, Path::new("/var/lib/ogha"));
    assert_eq!(config.node.run_dir, Path::new("/run/ogha"));
    assert_eq!(config.node.bpf_dir, Path::new("/sys/fs/bpf/ogha"));
    assert!(config.node.realtime);
    let [instance] = &config.instances[..] else { panic!("one instance") };
    assert_eq!(instance.vrid, Vrid::new(59).unwrap());
    assert_eq!(instance.priority, Priority::new(100));
    assert_eq!(instance.virtual_addresses[0].to_string(), "192.168.1.10/32");
    let vrrp = Vrrp {
        version: 3,
        advert_interval: Centis::new(10).unwrap(),
        preempt: false,
        transport: Transport::Unicast,
        auth_pass: None,
    };
    assert_eq!(instance.vrrp, vrrp);
    let liveness = Liveness {
        port: 26112,
        probe_interval: Duration::from_millis(10),
        detect_multiplier: 3,
        lease: Duration::from_millis(100),
        agent_timeout: Duration::from_secs(3),
        hang_timeout: Duration::from_secs(2),
        key_file: "/etc/ogha/cluster.key".into(),
    };
    assert_eq!(instance.liveness, liveness);
    let server = Server {
        port: 26000,
        data_dir: "/gauss/data/db1".into(),
        user: "omm".to_owned(),
        bin_dir: None,
        socket_dir: None,
        dbname: "postgres".to_owned(),
        unit: None,
    };
    assert_eq!(instance.database, Database::Opengauss(server));
    let failover = Failover {
        max_lag: 0,
        synchronous: true,
        rejoin: Rejoin::Manual,
        restart_attempts: 0,
        switchover_timeout: Duration::from_secs(30),
        closed_gate: ClosedGate::Reject,
    };
    assert_eq!(instance.failover, failover);
    assert_eq!(instance.arbiter, Arbiter::None);
    assert_eq!(instance.hooks, Hooks { command: None, timeout: Duration::from_secs(30) });
}

#[test]
fn every_key_is_read() {
    let text = r#"
node = { name = "a", state_dir = "/s", run_dir = "/r", bpf_dir = "/b", realtime = false }
[[instance]]
name = "one"
interface = "bond0.7"
virtual_router_id = 0xff
priority = 254
virtual_addresses = ["10.0.0.9/24", "10.0.0.10"]
vrrp = { version = 2, advert_interval = "2s", preempt = true, transport = "multicast", auth_pass = "11" }
failover = { max_lag = "16 MB", synchronous = false, rejoin = "manual", closed_gate = "reject" }
arbiter.kind = "none"
[instance.liveness]
port = 1
probe_interval = "500us"
detect_multiplier = 5
lease = "1s"
agent_timeout = "1min"
hang_timeout = "5s"
key_file = "/k"
[instance.database]
kind = "postgresql"
port = 5433
data_dir = "/d"
user = "postgres"
bin_dir = "/bin"
socket_dir = "/sock"
dbname = "app"
unit = "postgresql@15-main"
[[instance]]
name = "two"
interface = "eth1"
virtual_router_id = 255
virtual_addresses = ["10.0.1.9"]
peer = [{ name = "b", address = "10.0.1.2" }, { name = "c", address = "10.0.1.3" }]
database.kind = "none"
"#;
    let text = text.replace("500us", "1ms");
    let config = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(!config.node.realtime);
    let [one, two] = &config.instances[..] else { panic!("two instances") };
    assert_eq!(one.virtual_addresses[0].to_string(), "10.0.0.9/24");
    assert_eq!(one.virtual_addresses[1].to_string(), "10.0.0.10/32");
    assert_eq!(one.priority, Priority::HIGHEST);
    assert_eq!(one.vrrp.advert_interval.duration(), Duration::from_secs(2));
    assert_eq!((one.vrrp.preempt, one.vrrp.transport), (true, Transport::Multicast));
    assert_eq!(one.vrrp.auth_pass.as_deref(), Some("11"));
    assert_eq!(one.failover.max_lag, 16 << 20);
    assert_eq!(one.liveness.agent_timeout, Duration::from_secs(60));
    assert_eq!(one.liveness.hang_timeout, Duration::from_secs(5));
    let server = one.database.server().unwrap();
    assert_eq!((server.port, server.dbname.as_str()), (5433, "app"));
    assert_eq!(server.socket_dir.as_deref(), Some(Path::new("/sock")));
    assert_eq!(server.unit.as_ref().map(Unit::name), Some("postgresql@15-main.service"));
    assert_eq!((two.peers.len(), two.database.port()), (2, None));
}

#[test]
fn version_2_has_its_own_default_interval() {
    let config = parse(&GOOD.replace("version = 3", "version = 2")).unwrap();
    assert_eq!(config.instances[0].vrrp.advert_interval.duration(), Duration::from_secs(1));
}
