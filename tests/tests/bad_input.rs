//! What an operator can get wrong: one clear message, exit code 2, nothing left behind.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::Command,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::User,
};
use ogha_tests::lab::{
    Agent, Lab, Postgres, Template,
    agent::{Peer, Settings},
    ipv6_of,
    pair::{FIRST, SECOND, VIP},
    process::Process,
};

/// A host with a database that does not run and an agent that was not started.
struct Stage {
    agent: Agent,
    _lab: Lab,
}

impl Stage {
    fn new(name: &str) -> Self {
        let lab = Lab::new(name).unwrap();
        let switch = lab.switch("switch").unwrap();
        let host = lab.host("db1", &switch, FIRST).unwrap();
        let database = Postgres::primary(&host, &Template::get().unwrap()).unwrap();
        let peer = Peer { name: "db2".into(), address: SECOND };
        let agent = Agent::configure(&database, &peer, VIP, 100, &Settings::default()).unwrap();
        Self { agent, _lab: lab }
    }

    fn spawn(&self, command: Command, user: Option<&str>) -> Process {
        self.agent.host().spawn("agent", command, user).unwrap()
    }

    /// Runs the agent, which must refuse: returns what it said.
    fn refusal(&self) -> String {
        self.refusal_of(self.agent.run_command().unwrap(), None)
    }

    fn refusal_of(&self, command: Command, user: Option<&str>) -> String {
        let process = self.spawn(command, user);
        let status = process.wait(Duration::from_secs(60));
        let said = self.agent.log();
        let status = status.unwrap_or_else(|| panic!("it runs: {said}"));
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        self.assert_nothing_left();
        said
    }

    /// No program or map is pinned, the address is on no interface, nobody listens.
    fn assert_nothing_left(&self) {
        let host = self.agent.host();
        assert_eq!(pinned(&host.bpf_dir()), Vec::<String>::new());
        assert_eq!(host.addresses().unwrap(), [IpAddr::V4(FIRST), ipv6_of(FIRST).into()]);
        assert!(!self.agent.socket_path().exists());
    }
}

fn pinned(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(pinned(&entry.path())),
            false => found.push(entry.path().display().to_string()),
        }
    }
    found
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "nothing of {word:?} in: {said}");
    }
}

/// The interface of the configuration is not on this host: it may come late, as at boot, so the agent says
/// what it waits for, and attaches nothing.
#[test]
fn an_interface_that_is_not_there() {
    let stage = Stage::new("interface");
    stage.agent.edit_config("\"eth0\"", "\"eth9\"").unwrap();
    let process = stage.spawn(stage.agent.run_command().unwrap(), None);
    assert_eq!(process.wait(Duration::from_secs(2)), None, "{}", stage.agent.log());
    assert_says(&stage.agent.log(), &["waiting", "eth9"]);
    let host = stage.agent.host();
    assert_eq!(pinned(&host.bpf_dir()), Vec::<String>::new());
    assert_eq!(host.addresses().unwrap(), [IpAddr::V4(FIRST), ipv6_of(FIRST).into()]);
}

/// Another program holds the port of the probes.
#[test]
fn a_port_in_use() {
    let stage = Stage::new("port");
    let host = stage.agent.host();
    let _taken =
        host.namespace().enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 26112))).unwrap();
    assert_says(&stage.refusal(), &["26112"]);
}

/// The data directory does not exist.
#[test]
fn a_data_directory_that_is_not_there() {
    let stage = Stage::new("data");
    let data = stage.agent.host().directory().join("data");
    let data = data.to_str().unwrap();
    stage.agent.edit_config(data, "/nowhere/data").unwrap();
    assert_says(&stage.refusal(), &["/nowhere/data"]);
}

/// A key of the configuration is not known: the message names it, its line and the nearest that
/// is known.
#[test]
fn an_unknown_key() {
    let stage = Stage::new("key");
    stage.agent.edit_config("virtual_router_id", "virtual_ruoter_id").unwrap();
    let text = fs::read_to_string(stage.agent.config_path()).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("ruoter")).unwrap();
    let said = stage.refusal();
    assert_says(&said, &["virtual_ruoter_id", "virtual_router_id", &line.to_string()]);
}

/// There is no configuration at all.
#[test]
fn no_configuration() {
    let stage = Stage::new("none");
    let path = stage.agent.config_path();
    fs::remove_file(&path).unwrap();
    assert_says(&stage.refusal(), &[path.to_str().unwrap()]);
}

/// The agent runs as a user who may nothing.
#[test]
fn no_privileges() {
    let stage = Stage::new("user");
    let user = User::from_name("postgres").unwrap().unwrap();
    let host = stage.agent.host();
    for path in [stage.agent.key_path(), host.state_dir(), host.run_dir()] {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
    // Where another user may read it.
    let binary = host.directory().join("ogha-agent");
    fs::copy(ogha_tests::lab::agent::binary().unwrap(), &binary).unwrap();
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(stage.agent.config_path());
    let said = stage.refusal_of(command, Some("postgres"));
    assert_says(&said, &["CAP_"]);
}

/// The kernel tells nothing about its types, as one built without BTF.
#[test]
fn no_btf() {
    let stage = Stage::new("btf");
    let mut command = stage.agent.run_command().unwrap();
    let hide = || -> std::io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("none"), "/sys/kernel/btf", Some("tmpfs"), MsFlags::empty(), none)?;
        Ok(())
    };
    // SAFETY: system calls only, with short paths that nix puts on the stack.
    unsafe { command.pre_exec(hide) };
    assert_says(&stage.refusal_of(command, None), &["BTF"]);
}

/// The directory for the BPF objects is on another file system.
#[test]
fn a_bpf_directory_on_a_disk() {
    let stage = Stage::new("bpffs");
    let disk = stage.agent.host().state_dir().join("bpf");
    let bpf = stage.agent.host().bpf_dir();
    stage.agent.edit_config(bpf.to_str().unwrap(), disk.to_str().unwrap()).unwrap();
    assert_says(&stage.refusal(), &[disk.to_str().unwrap()]);
}

/// A command line that means nothing.
#[test]
fn a_wrong_command_line() {
    let stage = Stage::new("usage");
    for arguments in [&["ran"][..], &["run", "--confg", "x"], &["status", "--jason"]] {
        let mut command = Command::new(ogha_tests::lab::agent::binary().unwrap());
        command.args(arguments);
        stage.refusal_of(command, None);
    }
}
