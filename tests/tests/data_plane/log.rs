//! The programs' log.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use ogha_agent::kernel::Kernel;
use tracing::{Dispatch, Level, dispatcher::with_default};

use crate::{
    frames,
    stage::{Stage, closed, interface, open, run},
};

/// Where a log is written to.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    /// A log down to that level, which is written here.
    fn log(&self, level: Level) -> Dispatch {
        let page = self.clone();
        let log = tracing_subscriber::fmt().with_max_level(level).with_ansi(false);
        log.with_writer(move || page.clone()).into()
    }

    /// The lines of the programs.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let said = |line: &str| Some(line.split_once("kernel::log: ")?.1.to_owned());
        text.lines().filter_map(said).collect()
    }
}

/// Starts the data plane again, with this log.
fn restart(stage: &mut Stage, log: &Dispatch) {
    let (bpf_dir, at) = (stage.node.bpf_dir(), [interface(&stage.node)]);
    let start = || with_default(log, || Kernel::start(&bpf_dir, &at));
    stage.kernel = stage.node.namespace().enter(start).unwrap();
}

/// The length of the XDP program that is attached, as the verifier has left it.
fn length(stage: &Stage) -> u32 {
    let pin = stage.node.bpf_dir().join(format!("links/xdp_{}", interface(&stage.node).index));
    let after = |text: &str, word: &str| {
        let number = text.split_once(word).unwrap().1;
        number.split(|c: char| !c.is_ascii_digit()).next().unwrap().to_owned()
    };
    let link = run(&stage.node, &["bpftool", "link", "show", "pinned", pin.to_str().unwrap()]);
    let program = run(&stage.node, &["bpftool", "prog", "show", "id", &after(&link, "prog ")]);
    after(&program, "xlated ").parse().unwrap()
}

/// TRACE is on when the data plane starts: each packet in which it has a say is a line, and the
/// host's own traffic is none.
#[test]
fn each_packet_of_the_vip_is_told_where_trace_is_on() {
    let mut stage = Stage::set("log");
    let page = Page::default();
    let log = page.log(Level::TRACE);
    restart(&mut stage, &log);
    let mut lines = stage.kernel.take_log().expect("lines are wanted");
    stage.gate(open());
    assert!(stage.ask_for_vip().is_some());
    stage.gate(closed());
    assert_eq!(stage.ask_for_vip(), None);
    stage.add_vip();
    let announcement = frames::gratuitous(stage.vip_end());
    crate::wire::Wire::open(&stage.node).try_send(&announcement).unwrap_err();
    with_default(&log, || lines.forward(Duration::ZERO)).unwrap();
    let expected = [
        "in: answered for the address interface=\"eth0\"",
        "in: not answered: the address is not held interface=\"eth0\"",
        "out: own claim suppressed: the address is not held interface=\"eth0\"",
    ];
    assert_eq!(page.lines(), expected);
}

/// TRACE is off: the programs have no log, and nothing of it is left in them.
#[test]
fn where_trace_is_off_the_log_is_not_in_the_programs() {
    let mut stage = Stage::set("log-off");
    let page = Page::default();
    restart(&mut stage, &page.log(Level::DEBUG));
    assert!(stage.kernel.take_log().is_none());
    let off = length(&stage);
    restart(&mut stage, &page.log(Level::TRACE));
    let on = length(&stage);
    assert!(off + 500 < on, "{off} octets without the log, {on} with it");
    assert!(stage.ask_for_vip().is_none());
}
