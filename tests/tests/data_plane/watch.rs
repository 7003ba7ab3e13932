//! The death watch.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::Command,
    thread,
    time::Duration,
};

use ogha_agent::kernel::{Events, Kernel};
use ogha_common::maps::{EVENT_LISTENER_GONE, EVENT_LISTENER_UP, EVENT_PROCESS_EXIT, Event, Watch};
use ogha_tests::lab::{Host, clock};
use tokio::runtime::Runtime;

use crate::{
    stage::{INSTANCE, PORT, Stage, start},
    wire::GENEROUS,
};

/// The events of one data plane, read as the agent reads them.
struct Reader {
    runtime: Runtime,
    events: Events,
}

impl Reader {
    fn of(kernel: &mut Kernel) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let events = runtime.block_on(async { kernel.take_events() }).unwrap();
        Self { runtime, events }
    }

    /// The next event, which must come.
    fn next(&mut self) -> Event {
        let Self { runtime, events } = self;
        runtime.block_on(async {
            tokio::time::timeout(GENEROUS, events.next()).await.expect("no event").unwrap()
        })
    }

    fn expect(&mut self, kind: u32, detail: u64) {
        let before = clock::now().ns() - GENEROUS.as_nanos() as u64;
        let event = self.next();
        assert_eq!((event.kind, event.instance, event.detail), (kind, INSTANCE, detail));
        assert!(event.time_ns > before && event.time_ns <= clock::now().ns());
    }
}

fn netns(host: &Host) -> u32 {
    u32::try_from(host.namespace().inode().unwrap()).unwrap()
}

fn watch(host: &Host, tgid: u32) -> Watch {
    let pidns = std::fs::metadata("/proc/self/ns/pid").unwrap().ino() as u32;
    Watch { tgid, port: PORT.into(), netns: netns(host), agent: 0, pidns }
}

fn listen(host: &Host, port: u16) -> TcpListener {
    host.namespace().enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
}

/// Two hosts of one machine have a database on the same port, each with its own data plane: each
/// hears of its own listener, not of the other's, nor of other ports and of connections.
#[test]
fn a_listener_is_seen_in_its_own_namespace_only() {
    let mut stage = Stage::set("watch-listener");
    let other = stage.add_host("other", 12);
    let mut other_kernel = start(&other);
    stage.kernel.set_watch(INSTANCE, watch(&stage.node, 0)).unwrap();
    other_kernel.set_watch(INSTANCE, watch(&other, 0)).unwrap();
    let mut here = Reader::of(&mut stage.kernel);
    let mut there = Reader::of(&mut other_kernel);

    let at_there = listen(&other, PORT);
    drop(listen(&stage.node, PORT + 1));
    let at_here = listen(&stage.node, PORT);
    here.expect(EVENT_LISTENER_UP, netns(&stage.node).into());
    there.expect(EVENT_LISTENER_UP, netns(&other).into());

    let address = (stage.node.address(), PORT);
    let client = stage.client.namespace().enter(|| TcpStream::connect(address)).unwrap();
    drop((client, at_here.accept().unwrap()));
    drop(at_there);
    there.expect(EVENT_LISTENER_GONE, netns(&other).into());
    drop(at_here);
    here.expect(EVENT_LISTENER_GONE, netns(&stage.node).into());
    assert_eq!((here.events.take(), there.events.take()), (None, None));
}

/// The database's main process is killed: the agent hears of that process, and not of others or of
/// the threads of a process that goes on.
#[test]
fn the_exit_of_the_main_process_is_seen() {
    let mut stage = Stage::set("watch-exit");
    let mut reader = Reader::of(&mut stage.kernel);
    let sleep = || {
        let mut command = Command::new("sleep");
        command.arg("1000");
        stage.node.spawn("sleep", command, None).unwrap()
    };
    let (main, stranger) = (sleep(), sleep());
    stage.kernel.set_watch(INSTANCE, watch(&stage.node, std::process::id())).unwrap();
    for _ in 0..10 {
        thread::spawn(|| {}).join().unwrap();
    }
    stage.kernel.set_watch(INSTANCE, watch(&stage.node, main.pid() as u32)).unwrap();
    stranger.kill().unwrap();
    main.kill().unwrap();
    reader.expect(EVENT_PROCESS_EXIT, main.pid() as u64);
    assert_eq!(reader.events.take(), None);
}

/// A process of many threads is killed: its exit is told once all of them are gone, and the
/// listener that it held goes too.
#[test]
fn a_process_of_many_threads_exits_as_one() {
    const PROGRAM: &str = "import socket, sys, threading, time\n\
        s = socket.create_server(('0.0.0.0', 26000))\n\
        [threading.Thread(target=time.sleep, args=(1000,)).start() for _ in range(32)]\n\
        print('ready', flush=True)\n";
    let mut stage = Stage::set("watch-threads");
    let mut reader = Reader::of(&mut stage.kernel);
    stage.kernel.set_watch(INSTANCE, watch(&stage.node, 0)).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM]);
    let main = stage.node.spawn("threads", command, None).unwrap();
    clock::wait_until("the threads", GENEROUS, Duration::from_millis(10), || {
        Ok(std::fs::read_to_string(stage.node.log_path("threads"))?.contains("ready").then_some(()))
    })
    .unwrap();
    reader.expect(EVENT_LISTENER_UP, netns(&stage.node).into());
    let pid = main.pid() as u32;
    stage.kernel.set_watch(INSTANCE, watch(&stage.node, pid)).unwrap();
    main.kill().unwrap();
    // A thread may reach the tracepoint after the last one has left: the exit may be told twice.
    let (mut exits, mut gone) = (0, false);
    while exits == 0 || !gone {
        match reader.next() {
            Event { kind: EVENT_PROCESS_EXIT, detail, .. } if detail == u64::from(pid) => {
                exits += 1
            }
            Event { kind: EVENT_LISTENER_GONE, .. } => gone = true,
            other => panic!("{other:?}"),
        }
    }
}
