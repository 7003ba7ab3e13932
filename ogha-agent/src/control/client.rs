//! The operator's end of the control socket. It blocks, and it gives up.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use socket2::{Domain, SockAddr, Socket, Type};

use super::protocol::{Request, Response};

/// How long the agent may stay silent: longer than its own deadline, so that it can say why.
const PATIENCE: Duration = Duration::from_secs(8);

/// Asks the agent at `socket` and waits for the answer. [`Response::Error`] is an answer.
///
/// # Errors
/// No agent answers there, or what answers is none.
pub fn ask(socket: &Path, request: &Request) -> anyhow::Result<Response> {
    ask_within(socket, request, PATIENCE)
}

fn ask_within(socket: &Path, request: &Request, patience: Duration) -> anyhow::Result<Response> {
    let mut stream = connect(socket, patience).map_err(|error| refusal(socket, &error))?;
    let request = serde_json::to_string(request).context("cannot write the request")?;
    // An agent that is busy answers and hangs up without having read: the answer counts.
    let sent = writeln!(stream, "{request}");
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line);
    if line.is_empty() {
        sent.and(read.map(drop)).map_err(|error| silence(socket, patience, &error))?;
    }
    if line.is_empty() {
        bail!("the agent at {} hung up without an answer; see its log", socket.display());
    }
    serde_json::from_str(&line).with_context(|| {
        format!(
            "what answers at {} is no agent of this version; restart it after an update",
            socket.display()
        )
    })
}

/// With a limit on the connecting too: it waits while the queue of a stopped agent is full.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(patience))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn refusal(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow!("no agent is answering at {shown}: is `ogha-agent run` running?")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("{shown} may not be opened by this user; ask as root")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            anyhow!("the agent at {shown} accepts nobody: is it stopped?")
        }
        _ => anyhow!("cannot connect to {shown}: {error}; name the agent's socket with --socket"),
    }
}

fn silence(path: &Path, patience: Duration, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            anyhow!("the agent at {shown} did not answer within {patience:?}: is it stopped?")
        }
        _ => anyhow!("the agent at {shown} hung up: {error}; see its log"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_nobody_serves_is_no_agent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let expected =
            format!("no agent is answering at {}: is `ogha-agent run` running?", path.display());
        assert_eq!(ask(&path, &Request::Status).unwrap_err().to_string(), expected);
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(ask(&path, &Request::Status).unwrap_err().to_string(), expected);
    }

    #[test]
    fn an_agent_that_stays_silent_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let patience = Duration::from_millis(50);
        let said = ask_within(&path, &Request::Status, patience).unwrap_err().to_string();
        assert!(said.ends_with("did not answer within 50ms: is it stopped?"), "{said}");
    }

    #[test]
    fn what_is_no_agent_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            for answer in ["hello\n", ""] {
                let (stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(&stream).read_line(&mut request).unwrap();
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        let said = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(said.contains("is no agent of this version"), "{said}");
        let said = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(said.ends_with("hung up without an answer; see its log"), "{said}");
        other.join().unwrap();
    }
}
