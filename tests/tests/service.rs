//! The agent as a service of systemd, and the guard of the database's service. systemd itself is not
//! here: a socket stands in for it.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use ogha_tests::lab::{
    Agent, Lab, Pair,
    agent::{Kind, Settings},
    pair::{FIRST, GENEROUS},
};

/// What systemd would hear.
struct Manager(UnixDatagram);

impl Manager {
    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn wait_for(&self, begin: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < GENEROUS {
            let heard = self.next();
            if heard.starts_with(begin) {
                return heard;
            }
        }
        panic!("{begin} was not heard");
    }
}

/// The interface comes after the agent, as at a boot: the agent waits for it and says so, has started
/// when it is there, feeds the watchdog, and says that it ends.
#[test]
fn a_service_waits_for_its_interface_and_tells_systemd() {
    let lab = Lab::new("service").unwrap();
    let switch = lab.switch("switch").unwrap();
    let host = lab.host("db1", &switch, FIRST).unwrap();
    let shown = |path: std::path::PathBuf| path.display().to_string();
    let text = format!(
        "node = {{ name = \"db1\", state_dir = \"{}\", run_dir = \"{}\", bpf_dir = \"{}\" }}\n\
         [[instance]]\nname = \"VI_1\"\ninterface = \"late0\"\nvirtual_router_id = 59\n\
         virtual_addresses = [\"192.0.2.10\"]\npeer = [{{ name = \"db2\", address = \"192.0.2.12\" }}]\n\
         database.kind = \"none\"\n",
        shown(host.state_dir()),
        shown(host.run_dir()),
        shown(host.bpf_dir())
    );
    let agent = Agent::with_config(&host, &text).unwrap();
    let path = host.directory().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    manager.0.set_read_timeout(Some(GENEROUS)).unwrap();
    let mut command = agent.run_command().unwrap();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "600000");
    agent.start_by(command).unwrap();
    let waits = manager.next();
    assert!(waits.starts_with("STATUS=waiting for the network: "), "{waits}");
    assert!(waits.contains("late0"), "{waits}");
    let _link = host.plug(&switch, "late0", Ipv4Addr::new(192, 0, 2, 31)).unwrap();
    manager.wait_for("READY=1");
    assert_eq!(agent.instance().unwrap()["name"], "VI_1");
    let begun = Instant::now();
    for _ in 0..4 {
        manager.wait_for("WATCHDOG=1");
    }
    assert!(begun.elapsed() > Duration::from_millis(300), "fed all the time");
    agent.signal(Signal::SIGTERM).unwrap();
    manager.wait_for("STOPPING=1");
}

/// A node that was primary with another in sync: at its next boot the guard makes its database a
/// standby. Where no agent has ever run, it does not.
#[test]
fn an_old_primary_starts_as_a_standby() {
    let pair = Pair::without_agents("guard", &Settings::patient(Kind::Postgresql)).unwrap();
    let node = &pair.nodes[0];
    node.agent
        .edit_config("kind = \"postgresql\"", "kind = \"postgresql\"\nunit = \"pg@1\"")
        .unwrap();
    let config = node.agent.config_path();
    let guard = |unit: &str| {
        let words = ["guard", "--config", config.to_str().unwrap(), "--unit", unit];
        let output = node.agent.run(&words).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
    };
    let signal = node.database.data_dir().join("standby.signal");
    let (code, said) = guard("pg@1.service");
    assert!(code == Some(0) && said.contains("may start as primary"), "{said}");
    assert!(!signal.exists());

    pair.start_agents().unwrap();
    node.agent.kill().unwrap();
    node.database.stop().unwrap();
    let (code, said) = guard("pg@1");
    assert!(code == Some(0) && said.contains("standby.signal written"), "{said}");
    assert!(fs::read_to_string(&signal).unwrap().starts_with("# ogha fenced"));
    let (code, said) = guard("pg@1");
    assert!(code == Some(0) && said.contains("starts as a standby"), "{said}");
    let (code, said) = guard("other");
    assert!(code == Some(2) && said.contains("other.service"), "{said}");
}
