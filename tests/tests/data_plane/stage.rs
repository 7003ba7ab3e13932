//! What every scenario plays on: a client and a node at one switch, and the node's data plane.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    sync::Arc,
    time::Duration,
};

use ogha_agent::{
    kernel::{Kernel, Place},
    net::interface::Interface,
};
use ogha_common::maps::{GATE_CLOSED, GATE_OPEN, Gate};
use ogha_tests::lab::{Host, Lab, Switch, clock, host::INTERFACE};

use crate::{
    XDP_IS_TAKEN,
    foreign::{Foreign, Mode},
    frames::{self, End},
    wire::{GENEROUS, Wire},
};

pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 59, 0, 100));
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x59, 0, 0, 0, 0, 0x0a3b, 0x0064));
pub const PORT: u16 = 26000;
pub const INSTANCE: u32 = 0;
/// The term of every gate, and of what the peer says.
pub const TERM: u64 = 7;

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(3600);

/// What a scenario is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

pub struct Stage {
    /// The virtual address.
    pub vip: IpAddr,
    pub client: Arc<Host>,
    pub node: Arc<Host>,
    /// The client's interface.
    pub wire: Wire,
    pub kernel: Kernel,
    /// Another's XDP program on the node's interface.
    pub foreign: Option<Foreign>,
    pub switch: Arc<Switch>,
    // Last: it removes what the others are made of.
    lab: Lab,
}

impl Stage {
    /// [`Self::on`] IPv4.
    pub fn set(name: &str) -> Self {
        Self::on(Version::V4, name)
    }

    /// The node has a VIP of that version and the port, and its gate is closed.
    pub fn on(version: Version, name: &str) -> Self {
        Self::behind(version, name, XDP_IS_TAKEN.then_some(Mode::Generic))
    }

    /// [`Self::on`] IPv4, where another's XDP program came first, in this mode.
    pub fn set_behind(name: &str, foreign: Option<Mode>) -> Self {
        Self::behind(Version::V4, name, foreign)
    }

    fn behind(version: Version, name: &str, foreign: Option<Mode>) -> Self {
        let (vip, name) = match version {
            Version::V4 => (VIP, name.to_owned()),
            Version::V6 => (VIP6, format!("{name}-6")),
        };
        let lab = Lab::new(&name).unwrap();
        let switch = lab.switch("switch").unwrap();
        let client = lab.host("client", &switch, Ipv4Addr::new(10, 59, 0, 1)).unwrap();
        let node = lab.host("node", &switch, Ipv4Addr::new(10, 59, 0, 11)).unwrap();
        let foreign = foreign.map(|mode| Foreign::attach(node.namespace(), INTERFACE, mode));
        let mut kernel = start(&node);
        if vip != VIP {
            kernel.set_vips(INSTANCE, &[vip], node.mac()).unwrap();
        }
        let wire = Wire::open(&client);
        Self { vip, client, node, wire, kernel, foreign, switch, lab }
    }

    /// Another host at the switch.
    pub fn add_host(&self, name: &str, last_octet: u8) -> Arc<Host> {
        self.lab.host(name, &self.switch, Ipv4Addr::new(10, 59, 0, last_octet)).unwrap()
    }

    /// Another switch, with a host of that address.
    pub fn add_network(&self, host: &str, address: Ipv4Addr) -> (Arc<Switch>, Arc<Host>) {
        let switch = self.lab.switch(&format!("switch-of-{host}")).unwrap();
        let host = self.lab.host(host, &switch, address).unwrap();
        (switch, host)
    }

    pub fn gate(&mut self, gate: Gate) {
        self.kernel.set_gate(INSTANCE, gate).unwrap();
        assert_eq!(self.kernel.gate(INSTANCE).unwrap(), gate);
    }

    /// The node's own address.
    pub fn node_address(&self) -> IpAddr {
        self.node.address_like(self.vip)
    }

    /// The client's address.
    pub fn client_address(&self) -> IpAddr {
        self.client.address_like(self.vip)
    }

    /// The address that says that there is none.
    pub fn unspecified(&self) -> IpAddr {
        match self.vip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    pub fn client_end(&self) -> End {
        End { mac: self.client.mac(), address: self.client_address() }
    }

    /// The VIP where the node is.
    pub fn vip_end(&self) -> End {
        End { mac: self.node.mac(), address: self.vip }
    }

    /// The node at its own address.
    pub fn node_end(&self) -> End {
        End { mac: self.node.mac(), address: self.node_address() }
    }

    /// Puts the VIP on the node's interface.
    pub fn add_vip(&self) {
        let (vip, length) = (self.vip, if self.vip.is_ipv4() { 32 } else { 128 });
        let mut command = vec!["ip", "address", "add"];
        let address = format!("{vip}/{length}");
        command.extend([&address, "dev", INTERFACE]);
        if self.vip.is_ipv6() {
            command.push("nodad");
        }
        run(&self.node, &command);
        // The kernel makes the route of an IPv6 address a moment after the address.
        let (vip, often) = (vip.to_string(), Duration::from_millis(5));
        let local = || {
            let route = run(&self.node, &["ip", "route", "get", &vip]);
            Ok(route.starts_with("local").then_some(()))
        };
        clock::wait_until("the route of the VIP", GENEROUS, often, local).unwrap();
    }

    /// What is said about the VIP before the node answers for its own address, as its stack always
    /// does.
    pub fn heard(&self) -> Vec<(u16, End, End)> {
        self.wire.send(&frames::who_has(self.client_end(), self.node_address()));
        let mut heard = Vec::new();
        self.wire.expect("the answer for the node's own address", |frame| {
            let message = frames::read_neighbour(frame)?;
            if message.1.address == self.vip {
                heard.push(message);
            }
            (message.0 == frames::REPLY && message.1.address == self.node_address()).then_some(())
        });
        heard
    }

    /// Asks for the VIP: the answer, if there is one.
    pub fn ask_for_vip(&self) -> Option<(u16, End, End)> {
        self.wire.send(&frames::who_has(self.client_end(), self.vip));
        self.heard().pop()
    }
}

/// Starts the data plane on the node, or takes it over.
pub fn start(node: &Host) -> Kernel {
    let place = Place::generic(&interface(node));
    start_at(node, &place)
}

/// The same, native or not.
pub fn start_at(node: &Host, place: &Place) -> Kernel {
    let places = std::slice::from_ref(place);
    let mut kernel = node.namespace().enter(|| Kernel::start_at(&node.bpf_dir(), places)).unwrap();
    kernel.set_vips(INSTANCE, &[VIP], node.mac()).unwrap();
    kernel.set_port(PORT, INSTANCE).unwrap();
    kernel
}

pub fn interface(host: &Host) -> Interface {
    host.namespace().enter(|| Interface::find(INTERFACE)).unwrap()
}

pub const fn closed() -> Gate {
    Gate { state: GATE_CLOSED, claimed: 0, term: TERM, lease_until_ns: 0 }
}

pub fn claimed() -> Gate {
    Gate { claimed: 1, lease_until_ns: (clock::now() + LONG).ns(), ..closed() }
}

pub fn open() -> Gate {
    open_for(LONG)
}

pub fn open_for(lease: Duration) -> Gate {
    Gate { state: GATE_OPEN, lease_until_ns: (clock::now() + lease).ns(), ..closed() }
}

/// Open, but for its lease.
pub const fn lapsed() -> Gate {
    Gate { state: GATE_OPEN, claimed: 0, term: TERM, lease_until_ns: 1 }
}

/// The host's neighbour table says that this address is there, as if the host had asked before.
pub fn know(host: &Host, there: End) {
    let mac = there.mac.map(|octet| format!("{octet:02x}")).join(":");
    let address = there.address.to_string();
    run(host, &["ip", "neigh", "replace", &address, "lladdr", &mac, "dev", INTERFACE]);
}

/// Runs a command on a host to its end, which must be a good one.
pub fn run(host: &Host, command: &[&str]) -> String {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]);
    let output = host.output(process, None).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", command.join(" "));
    String::from_utf8(output.stdout).unwrap()
}
