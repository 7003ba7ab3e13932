//! Several instances and several interfaces.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr, TcpListener},
};

use ogha_agent::{kernel::Kernel, net::interface::Interface};
use ogha_common::maps::{ArpCounters, PortCounters};
use ogha_tests::lab::{Host, host::INTERFACE};

use crate::{
    frames::{self, ACK, End, REPLY, RST, SYN, Segment},
    stage::{INSTANCE, PORT, Stage, closed, interface, know, open, run},
    wire::Wire,
};

const OTHER: u32 = 1;
const OTHER_PORT: u16 = 26001;

/// A virtual address, its database, and the two ends of the cable by which it is reached.
struct Service {
    instance: u32,
    vip: End,
    port: u16,
    node: End,
    client: End,
    at_client: Wire,
    at_node: Wire,
    /// A client's port that was not used yet.
    next: Cell<u16>,
    _listener: TcpListener,
}

impl Service {
    /// The address is added to the node's interface of that name, and something listens there.
    fn new(
        at: (&Host, &str, End),
        client: &Host,
        (instance, address, port): (u32, IpAddr, u16),
    ) -> Self {
        let (host, interface, node) = at;
        run(host, &["ip", "address", "add", &format!("{address}/32"), "dev", interface]);
        let listener = host.namespace().enter(|| TcpListener::bind((address, port)).unwrap());
        let vip = End { mac: node.mac, address };
        // Else its stack would ask, too, and be answered.
        know(client, vip);
        Self {
            instance,
            vip,
            port,
            node,
            client: End { mac: client.mac(), address: client.address().into() },
            at_client: Wire::open(client),
            at_node: Wire::open_at(host, interface, node.mac),
            next: Cell::new(4000),
            _listener: listener,
        }
    }

    /// Tells the kernel of it. Its gate is closed then.
    fn set(&self, kernel: &mut Kernel) {
        kernel.set_vips(self.instance, &[self.vip.address], self.vip.mac).unwrap();
        kernel.set_port(self.port, self.instance).unwrap();
        kernel.set_gate(self.instance, closed()).unwrap();
    }

    /// Asks for the address, and then for the node's own, which the stack answers: how often the first
    /// was answered meanwhile.
    fn answers(&self) -> usize {
        self.at_client.send(&frames::who_has(self.client, self.vip.address));
        self.at_client.send(&frames::who_has(self.client, self.node.address));
        let mut answers = 0;
        self.at_client.expect("the answer for the node's own address", |frame| {
            let (operation, sender, target) = frames::read_neighbour(frame)?;
            if operation != REPLY || target != self.client {
                return None;
            }
            answers += usize::from(sender == self.vip);
            (sender.address == self.node.address).then_some(())
        });
        answers
    }

    /// The flags of what is said to a SYN.
    fn knock(&self) -> u8 {
        let source = self.next.replace(self.next.get() + 1);
        let syn = Segment {
            source,
            destination: self.port,
            sequence: 7,
            flags: SYN,
            ..Segment::default()
        };
        self.at_client.send(&syn.packet(self.client, self.vip));
        self.at_client.expect("what is said to a SYN", |frame| {
            let (from, _, segment) = Segment::read(frame)?;
            (from == self.vip.address && segment.destination == source).then_some(segment.flags)
        })
    }

    /// May the node say that it has the address?
    fn announces(&self) -> bool {
        self.at_node.try_send(&frames::gratuitous(self.vip)).is_ok()
    }

    fn assert_serves(&self) {
        assert_eq!((self.answers(), self.knock(), self.announces()), (1, SYN | ACK, true));
    }

    fn assert_refuses(&self) {
        assert_eq!((self.answers(), self.knock(), self.announces()), (0, RST | ACK, false));
    }

    /// It has served once and refused once: nothing of that is counted elsewhere.
    fn assert_counted(&self, kernel: &Kernel) {
        let expected = ArpCounters { answered: 1, dropped: 1, suppressed: 1, ..Default::default() };
        assert_eq!(kernel.arp_counters(self.instance).unwrap(), expected);
        let PortCounters { syn_in, synack_out, rejected, .. } =
            kernel.port_counters(self.instance).unwrap();
        assert_eq!((syn_in, synack_out, rejected), (2, 1, 1));
    }
}

/// One gate is open and the other closed, and then the other way round: each service keeps to its own.
fn each_keeps_to_its_own(kernel: &mut Kernel, services: &[Service; 2]) {
    let [first, second] = services;
    services.iter().for_each(|service| service.set(kernel));
    for (serving, refusing) in [(first, second), (second, first)] {
        kernel.set_gate(refusing.instance, closed()).unwrap();
        kernel.set_gate(serving.instance, open()).unwrap();
        serving.assert_serves();
        refusing.assert_refuses();
    }
    services.iter().for_each(|service| service.assert_counted(kernel));
}

/// Two databases on one host, each with an address and a port of its own at the same interface: the
/// gate of one is open, that of the other closed.
#[test]
fn two_instances_of_an_interface_keep_to_their_own() {
    let mut stage = Stage::set("several-instances");
    let other = Ipv4Addr::new(10, 59, 0, 101).into();
    let at = (&*stage.node, INTERFACE, stage.node_end());
    let services = [(INSTANCE, stage.vip, PORT), (OTHER, other, OTHER_PORT)]
        .map(|what| Service::new(at, &stage.client, what));
    each_keeps_to_its_own(&mut stage.kernel, &services);
}

/// A host with two interfaces, in two networks, each with a virtual address: one data plane is
/// attached to both, answers at both and guards both.
#[test]
fn two_interfaces_are_answered_and_guarded() {
    let mut stage = Stage::set("several-interfaces");
    let (switch, neighbour) = stage.add_network("other", Ipv4Addr::new(10, 60, 0, 1));
    let own = Ipv4Addr::new(10, 60, 0, 11);
    let link = stage.node.plug(&switch, "eth1", own).unwrap();
    let second = stage.node.namespace().enter(|| Interface::find("eth1")).unwrap();
    let both = [interface(&stage.node), second];
    let bpf_dir = stage.node.bpf_dir();
    let started = stage.node.namespace().enter(|| Kernel::start(&bpf_dir, &both));
    stage.kernel = started.unwrap();
    let vip = Ipv4Addr::new(10, 60, 0, 100).into();
    let at = (&*stage.node, "eth1", End { mac: link.mac(), address: own.into() });
    let services = [
        Service::new(
            (&*stage.node, INTERFACE, stage.node_end()),
            &stage.client,
            (INSTANCE, stage.vip, PORT),
        ),
        Service::new(at, &neighbour, (OTHER, vip, OTHER_PORT)),
    ];
    each_keeps_to_its_own(&mut stage.kernel, &services);
}
