//! The lab itself: what every other scenario relies on.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use ogha_tests::lab::{Host, Lab, clock};

const A: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 11);
const B: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 12);
const GENEROUS: Duration = Duration::from_secs(20);
const OFTEN: Duration = Duration::from_millis(5);

fn two_hosts(lab: &Lab) -> (std::sync::Arc<Host>, std::sync::Arc<Host>) {
    let switch = lab.switch("switch").unwrap();
    (lab.host("a", &switch, A).unwrap(), lab.host("b", &switch, B).unwrap())
}

/// A thread that answers datagrams on the host until the socket has been quiet for long.
fn echo(host: &Host) -> SocketAddr {
    let socket = host.namespace().enter(|| UdpSocket::bind((host.address(), 0)).unwrap());
    let address = socket.local_addr().unwrap();
    socket.set_read_timeout(Some(GENEROUS)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    address
}

fn answers(from: &Host, to: SocketAddr, within: Duration) -> bool {
    let socket = from.namespace().enter(|| UdpSocket::bind((from.address(), 0)).unwrap());
    socket.set_read_timeout(Some(within)).unwrap();
    let mut buffer = [0; 16];
    socket.send_to(b"ping", to).is_ok() && socket.recv(&mut buffer).is_ok()
}

/// Two hosts reach each other through the switch; not when one's cable is cut, and again when it
/// is plugged in.
#[test]
fn a_cable_carries_until_it_is_cut() {
    let lab = Lab::new("cable").unwrap();
    let (a, b) = two_hosts(&lab);
    let echo = echo(&b);
    let reachable = || Ok(answers(&a, echo, Duration::from_millis(100)).then_some(()));
    clock::wait_until("an answer", GENEROUS, OFTEN, reachable).unwrap();
    b.link().cut().unwrap();
    assert!(!answers(&a, echo, Duration::from_millis(300)));
    b.link().restore().unwrap();
    clock::wait_until("an answer again", GENEROUS, OFTEN, reachable).unwrap();
}

/// A process started on a host sees that host's network, and dies with the lab, which leaves no
/// directory and no mount behind.
#[test]
fn a_lab_leaves_nothing() {
    let lab = Lab::new("nothing").unwrap();
    let (a, _b) = two_hosts(&lab);
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let sleep = a.spawn("sleep", sleep, None).unwrap();
    let inode = a.namespace().inode().unwrap();
    assert_eq!(ogha_tests::lab::process::all_in(inode), [sleep.pid()]);
    let directory = lab.directory().to_owned();
    drop(lab);
    assert!(sleep.wait(GENEROUS).is_some());
    assert!(!directory.exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(directory.to_str().unwrap()));
}

/// The power of a host fails: its processes are gone, its pins too, its disk stays, nobody
/// reaches it until it boots.
#[test]
fn power_off_is_silence() {
    let lab = Lab::new("power").unwrap();
    let (a, b) = two_hosts(&lab);
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let sleep = b.spawn("sleep", sleep, Some("postgres")).unwrap();
    std::fs::create_dir(b.bpf_dir()).unwrap();
    std::fs::write(b.state_dir().join("record"), "1").unwrap();
    let echo = echo(&b);
    b.power_off().unwrap();
    assert!(!sleep.is_running() || sleep.wait(GENEROUS).is_some());
    assert!(!b.bpf_dir().exists());
    assert!(b.state_dir().join("record").exists());
    assert!(!answers(&a, echo, Duration::from_millis(300)));
    b.power_on().unwrap();
    clock::wait_until("an answer after the boot", GENEROUS, OFTEN, || {
        Ok(answers(&a, echo, Duration::from_millis(100)).then_some(()))
    })
    .unwrap();
}
