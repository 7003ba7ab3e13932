//! The lab itself: what every other scenario relies on.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use ogha_tests::lab::{Host, Lab, client, clock};

const A: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 11);
const B: Ipv4Addr = Ipv4Addr::new(10, 59, 0, 12);
const GENEROUS: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(5);

fn two_hosts(lab: &Lab) -> (std::sync::Arc<Host>, std::sync::Arc<Host>) {
    let switch = lab.switch("switch").unwrap();
    (lab.host("a", &switch, A).unwrap(), lab.host("b", &switch, B).unwrap())
}

/// A thread that answers datagrams on the host until the socket has been quiet for long.
fn echo(host: &Host) -> SocketAddr {
    echo_at(host, host.address().into())
}

fn echo_at(host: &Host, address: IpAddr) -> SocketAddr {
    let socket = host.namespace().enter(|| UdpSocket::bind((address, 0)).unwrap());
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
    let own = from.address_like(to.ip());
    let socket = from.namespace().enter(|| UdpSocket::bind((own, 0)).unwrap());
    socket.set_read_timeout(Some(within)).unwrap();
    let mut buffer = [0; 16];
    socket.send_to(b"ping", to).is_ok() && socket.recv(&mut buffer).is_ok()
}

/// Two hosts reach each other through the switch; not when one's cable is cut, and again when it
/// is plugged in. Over both families, without a wait for duplicate addresses.
#[test]
fn a_cable_carries_until_it_is_cut() {
    let lab = Lab::new("cable").unwrap();
    let (a, b) = two_hosts(&lab);
    for address in [b.address().into(), b.ipv6().into()] {
        carries_until_cut(&a, &b, address);
    }
}

fn carries_until_cut(a: &Host, b: &Host, address: IpAddr) {
    assert_eq!(client::who_has(a, address, Duration::from_millis(300)).unwrap(), [b.mac()]);
    let echo = echo_at(b, address);
    assert_eq!(client::neighbour(a, address).unwrap(), None);
    let reachable = || Ok(answers(a, echo, Duration::from_millis(100)).then_some(()));
    clock::wait_until("an answer", GENEROUS, OFTEN, reachable).unwrap();
    assert_eq!(client::neighbour(a, address).unwrap(), Some(b.mac()));
    b.link().cut().unwrap();
    assert!(!answers(a, echo, Duration::from_millis(300)));
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

/// Two labs of one name at once, in one process: neither sees the other.
#[test]
fn two_labs_at_once() {
    let labs = [Lab::new("same").unwrap(), Lab::new("same").unwrap()];
    let pairs = labs.each_ref().map(two_hosts);
    for (a, b) in &pairs {
        let echo = echo(b);
        clock::wait_until("an answer", GENEROUS, OFTEN, || {
            Ok(answers(a, echo, Duration::from_millis(100)).then_some(()))
        })
        .unwrap();
    }
    let echo = echo(&pairs[0].1);
    pairs[1].1.link().cut().unwrap();
    assert!(answers(&pairs[0].0, echo, GENEROUS), "the other lab's cable was cut");
    let [first, second] = labs;
    drop(first);
    assert!(second.directory().exists());
    second.switch("another").unwrap();
}

/// A run is killed in the middle: its processes die with it, and the next lab removes the rest.
#[test]
fn a_killed_run_leaves_nothing() {
    let mut demo =
        Command::new(env!("CARGO_BIN_EXE_ogha-demo")).stderr(Stdio::null()).spawn().unwrap();
    let prefix = format!("{}-", demo.id());
    let own = Lab::new("sweeper").unwrap();
    let labs = own.directory().parent().unwrap().to_owned();
    let left = || -> Vec<_> {
        let entries = std::fs::read_dir(&labs).unwrap().flatten().map(|entry| entry.path());
        entries
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix))
            .collect()
    };
    let server = clock::wait_until("the demo's database to run", GENEROUS, OFTEN, || {
        let mut files = left().into_iter().map(|lab| lab.join("db1/data/postmaster.pid"));
        let text = files.find_map(|file| std::fs::read_to_string(file).ok());
        Ok(text.and_then(|text| text.lines().next()?.parse::<i32>().ok()))
    })
    .unwrap();
    demo.kill().unwrap();
    demo.wait().unwrap();
    clock::wait_until("the demo's database to end", GENEROUS, OFTEN, || {
        Ok((!std::path::Path::new(&format!("/proc/{server}")).exists()).then_some(()))
    })
    .unwrap();
    Lab::sweep().unwrap();
    assert_eq!(left(), Vec::<std::path::PathBuf>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&format!("/{prefix}")));
}
