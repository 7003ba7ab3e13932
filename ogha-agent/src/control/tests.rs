//! A server, and clients of every kind.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{
    client,
    protocol::{Request, Response},
    server::Server,
    view,
};

/// A server on a runtime of its own, and its socket.
struct Agent {
    _directory: TempDir,
    path: PathBuf,
    _runtime: Runtime,
}

impl Agent {
    /// Answers `status` as node `db1`, and never answers `history`.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(directory.path()).unwrap();
        let path = server.path().to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(server.serve(|request| async move {
            match request {
                Request::Status => status(),
                _ => std::future::pending().await,
            }
        }));
        Self { _directory: directory, path, _runtime: runtime }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).unwrap()
    }

    fn assert_answers(&self) {
        assert_eq!(client::ask(&self.path, &Request::Status).unwrap(), status());
    }
}

fn status() -> Response {
    Response::Status(view::Status { node: "db1".into(), ..view::Status::default() })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_socket_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let run_dir = directory.path().join("run/ogha");
    let server = Server::bind(&run_dir).unwrap();
    assert_eq!(server.path(), run_dir.join("agent.sock"));
    assert_eq!(mode(server.path()), 0o600);
    assert_eq!(mode(&run_dir) & !0o022, 0o755 & !0o022);
    let path = server.path().to_owned();
    drop(server);
    assert!(!path.exists(), "a socket that nobody serves is in the way");
}

#[test]
fn two_agents_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::bind(directory.path()).unwrap();
    let said = Server::bind(directory.path()).unwrap_err().to_string();
    assert_eq!(
        said,
        format!(
            "another agent is running here: it holds {}; stop it first, or set another \
             node.run_dir",
            first.path().display()
        )
    );
    assert!(first.path().exists(), "the second must leave the first its socket");
    drop(first);
    Server::bind(directory.path()).unwrap();
}

#[test]
fn a_socket_that_another_program_serves_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let said = Server::bind(directory.path()).unwrap_err().to_string();
    assert!(said.starts_with("another agent is running here"), "{said}");
    UnixStream::connect(&path).unwrap();
}

#[test]
fn the_socket_of_a_dead_agent_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    fs::write(directory.path().join("agent.sock.new"), "a crash in the middle").unwrap();
    let _server = Server::bind(directory.path()).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_run_dir_that_cannot_be_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let said = format!("{:#}", Server::bind(&file.join("run")).unwrap_err());
    assert!(said.starts_with("cannot make node.run_dir, "), "{said}");
}

#[test]
fn a_request_is_answered() {
    let agent = Agent::start();
    agent.assert_answers();
    let mut raw = agent.connect();
    raw.write_all(b"\"status\"\n").unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, r#"{"status":{"node":"db1","instances":[],"configuration":{"problems":[],"needs_restart":[]}}}"#.to_owned() + "\n");
}

#[test]
fn a_loop_that_does_not_answer_is_told() {
    let agent = Agent::start();
    let answer = client::ask(&agent.path, &Request::History).unwrap();
    assert_eq!(answer, Response::error("the agent's loop did not answer within 5s"));
}

#[test]
fn garbage_gets_an_answer_and_harms_nobody() {
    let agent = Agent::start();
    for (garbage, expected) in [
        (&b"\"switch\"\n"[..], "this agent does not know that: unknown variant `switch`"),
        (b"GET / HTTP/1.1\r\n\r\n", "a request is one line of JSON: "),
        (b"\xff\xfe\0\n", "a request is one line of JSON: "),
        (&[b'['; 5000], "a request is one line of JSON: "),
        (&vec![b'x'; 64 * 1024], "a request has at most 65536 octets"),
    ] {
        let mut raw = agent.connect();
        raw.write_all(garbage).unwrap();
        raw.shutdown(Shutdown::Write).unwrap();
        let mut line = String::new();
        BufReader::new(raw).read_line(&mut line).unwrap();
        let answer: Response = serde_json::from_str(&line).unwrap();
        let Response::Error(said) = answer else { panic!("{answer:?}") };
        assert!(said.starts_with(expected), "{said}");
    }
    drop(agent.connect());
    agent.assert_answers();
}

#[test]
fn slow_clients_stall_nobody() {
    let agent = Agent::start();
    let mut slow: Vec<_> = (0..31).map(|_| agent.connect()).collect();
    for client in &mut slow {
        client.write_all(b"\"sta").unwrap();
    }
    agent.assert_answers();
    let mut line = String::new();
    BufReader::new(&slow[0]).read_line(&mut line).unwrap();
    assert_eq!(line, "{\"error\":\"no whole request came within 5s\"}\n");
    agent.assert_answers();
}

#[test]
fn one_client_too_many_is_sent_away() {
    let agent = Agent::start();
    // The queue is served in order: when the last is refused, the others have their places.
    let slow: Vec<_> = (0..32).map(|_| agent.connect()).collect();
    let answer = client::ask(&agent.path, &Request::Status).unwrap();
    assert_eq!(answer, Response::error("too many clients at a time; try again"));
    drop(slow);
}
