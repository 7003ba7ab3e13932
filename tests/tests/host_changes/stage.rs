//! Two routers, or one, and what is done to their hosts.

use std::{fs, net::IpAddr, path::Path, process::Command, sync::Arc, time::Duration};

use ogha_tests::lab::{
    Host, client, clock, ipv6_of,
    pair::{GENEROUS, VIP},
    router::{Routers, Settings},
};

const OFTEN: Duration = Duration::from_millis(10);
/// In which something that was changed is noticed, for sure.
pub const A_WHILE: Duration = Duration::from_millis(1500);

/// Hosts with agents of `kind = "none"`. The first is used alone, unless the second is started.
pub struct Stage {
    pub routers: Routers,
}

impl Stage {
    /// One router, that serves.
    pub fn serving(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// The same, with a change of its configuration before.
    pub fn with(name: &str, change: impl FnOnce(&Self)) -> Self {
        let stage = Self { routers: Routers::new(name, &fast()).unwrap() };
        change(&stage);
        stage.routers.nodes[0].agent.start().unwrap();
        stage.routers.wait_until_serving(0).unwrap();
        stage
    }

    /// The first router's host.
    pub fn host(&self) -> &Arc<Host> {
        &self.routers.nodes[0].host
    }

    /// Runs a command on the first router's host; it must succeed.
    pub fn run(&self, line: &str) {
        run(self.host(), line);
    }

    /// Sets something below `/proc/sys/net` on the first router's host.
    pub fn set(&self, what: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(what);
        self.host().namespace().enter(|| fs::write(path, value)).unwrap();
    }

    /// Has another configuration of the first router's agent, which does not run.
    pub fn edit(&self, from: &str, to: &str) {
        self.routers.nodes[0].agent.edit_config(from, to).unwrap();
    }

    /// Waits until that is so.
    pub fn wait(&self, what: &str, is: impl Fn() -> bool) {
        clock::wait_until(what, GENEROUS, OFTEN, || Ok(is().then_some(())))
            .unwrap_or_else(|e| panic!("{e:#}\n{}", self.words()));
    }

    /// What the agents and the host say, for a message.
    pub fn words(&self) -> String {
        let addresses = output(self.host(), "ip address show");
        format!("{}\n{addresses}", self.routers.last_words())
    }

    /// Waits until the virtual address is held, once and as it should be.
    pub fn wait_until_held(&self) {
        self.wait("the address to be held", || places(self.host(), VIP.into()) == ["eth0 32"]);
    }

    /// Whether the first router's gate is open.
    pub fn is_open(&self) -> bool {
        self.routers.nodes[0].is_open()
    }

    /// What the agent has logged.
    pub fn log(&self) -> String {
        self.routers.nodes[0].agent.log()
    }

    /// Asserts that the agent has logged that, or does in a moment: its log is written beside its work.
    pub fn assert_logged(&self, words: &str) {
        let logged = || Ok(self.log().contains(words).then_some(()));
        if clock::wait_until("a line of the log", GENEROUS, OFTEN, logged).is_err() {
            panic!("not logged: {words}\n{}", self.words());
        }
    }

    /// What `status` says is wrong.
    pub fn faults(&self) -> String {
        let instance = self.routers.nodes[0].agent.instance();
        instance.map(|instance| instance["faults"].to_string()).unwrap_or_default()
    }

    /// The MACs that claim the virtual address on the LAN.
    pub fn who_has(&self) -> Vec<[u8; 6]> {
        let within = Duration::from_millis(200);
        client::who_has(&self.routers.client, VIP, within).unwrap_or_default()
    }

    /// Waits until exactly the first router, with its MAC as it is, answers for the address.
    pub fn wait_until_answered(&self, mac: [u8; 6]) {
        self.wait("the address to be answered for", || self.who_has() == [mac]);
    }

    /// Waits until the client can talk to the router's host at the virtual address: its gate passes.
    pub fn wait_until_serving(&self) {
        self.routers.wait_until_serving(0).unwrap_or_else(|e| panic!("{e:#}\n{}", self.words()));
        self.wait_until_held();
    }
}

/// Adverts ten times a second: a gate without a renewal lapses within 0.3 s.
pub fn fast() -> Settings {
    Settings { advert_interval: Some(Duration::from_millis(100)), ..Settings::default() }
}

/// Runs a command on a host; it must succeed.
pub fn run(host: &Host, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let output = host.output(command, None).unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What a command on a host prints.
pub fn output(host: &Host, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    String::from_utf8(host.output(command, None).unwrap().stdout).unwrap()
}

/// On which interfaces of the host an address is, with which prefix, in the order of the interfaces.
pub fn places(host: &Host, address: IpAddr) -> Vec<String> {
    let all = output(host, "ip -o address show");
    let place = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (on, _, held) = (fields.next()?, fields.next()?, fields.next()?);
        let (held, prefix) = held.split_once('/')?;
        let same = held.parse::<IpAddr>().ok()? == address;
        same.then(|| format!("{on} {prefix}"))
    };
    all.lines().filter_map(place).collect()
}

/// The IPv6 address that goes with the virtual one.
pub fn vip6() -> IpAddr {
    ipv6_of(VIP).into()
}
