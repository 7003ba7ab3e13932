//! Where standard error is connected to the journal, lines have priorities and fields.

use std::{
    fs,
    os::unix::{
        fs::MetadataExt as _,
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};

use nix::sys::stat::fstat;
use ogha_tests::lab::agent;

use crate::stage::{routers, with_stderr};

/// The journal's two sockets in that directory, and a stream to it.
fn journal(directory: &Path) -> (UnixDatagram, UnixListener, UnixStream) {
    fs::create_dir_all(directory).unwrap();
    let datagrams = UnixDatagram::bind(directory.join("socket")).unwrap();
    let listener = UnixListener::bind(directory.join("stdout")).unwrap();
    let stream = UnixStream::connect(directory.join("stdout")).unwrap();
    (datagrams, listener, stream)
}

fn connect(command: &mut Command, stream: UnixStream) {
    let meta = fstat(&stream).unwrap();
    command.env("JOURNAL_STREAM", format!("{}:{}", meta.st_dev, meta.st_ino));
    with_stderr(command, stream);
}

/// The next datagram that has that text.
fn next_with(datagrams: &UnixDatagram, text: &str) -> String {
    datagrams.set_read_timeout(Some(ogha_tests::lab::pair::GENEROUS)).unwrap();
    let mut seen = String::new();
    loop {
        let mut buffer = vec![0; 1 << 17];
        let length = datagrams.recv(&mut buffer).unwrap_or_else(|e| panic!("{text}: {e}: {seen}"));
        let datagram = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if datagram.contains(text) {
            return datagram;
        }
        seen += &datagram;
    }
}

/// An agent that cannot start says why as an error.
#[test]
fn an_error_has_its_priority() {
    let directory = tempfile::tempdir().unwrap();
    let (datagrams, _listener, stream) = journal(&directory.path().join("journal"));
    let config = directory.path().join("ogha.toml");
    fs::write(&config, "[node]\nname = \"a b\"\n").unwrap();
    let mut command = Command::new(agent::binary().unwrap());
    command.arg("run").arg("--config").arg(&config).env_remove("RUST_LOG");
    connect(&mut command, stream);
    assert_eq!(command.status().unwrap().code(), Some(2));
    let error = next_with(&datagrams, "is no name");
    assert!(error.starts_with("PRIORITY=3\nSYSLOG_IDENTIFIER=ogha-agent\n"), "{error}");
}

/// Lines of an instance have its name; a journal that reads nothing holds nobody up.
#[test]
fn lines_have_fields_and_a_stuck_journal_holds_nobody_up() {
    let pair = routers("journal");
    let agent = &pair.nodes[0].agent;
    let (datagrams, _listener, stream) = journal(&pair.lab.directory().join("journal"));
    let mut command = agent.run_command().unwrap();
    command.args(["--log", "debug"]);
    connect(&mut command, stream);
    agent.start_by(command).unwrap();
    // Nobody has read a line so far, and there are more than a socket holds.
    pair.wait_until_serving(0).unwrap();
    let line = next_with(&datagrams, "OGHA_INSTANCE=VI_1\n");
    assert!(line.contains("PRIORITY=") && line.contains("\nOGHA_MODULE=ogha_agent::"), "{line}");
    assert!(line.contains("\nMESSAGE="), "{line}");
    agent.stop().unwrap();
    let directory = fs::metadata(pair.lab.directory()).unwrap();
    assert!(directory.ino() > 0);
}

/// `JOURNAL_STREAM` is inherited by whoever is started from a service: a log that goes elsewhere is text.
#[test]
fn an_inherited_variable_is_no_journal() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("none.toml");
    let mut command = Command::new(agent::binary().unwrap());
    command.arg("run").arg("--config").arg(&config).env("JOURNAL_STREAM", "1:2");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("none.toml") && !said.contains("PRIORITY"), "{said}");
}
