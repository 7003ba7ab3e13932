//! Connecting to a Unix socket as another user.
//!
//! `peer` authentication asks the kernel who is at the other end. The kernel notes the effective
//! user of the thread that calls `connect` (unix(7), `SO_PEERCRED`), and Linux gives each thread
//! its own. So a thread that lives for this one call becomes the database's user and connects;
//! the agent's other threads never change.

use std::{io, os::fd::OwnedFd, os::unix, path::PathBuf, thread};

use nix::unistd::Uid;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{net::UnixStream, sync::oneshot};

/// Connects to `path`; as `user` if one is given, which needs root. Never waits for the server: a
/// full accept queue is the error `WouldBlock`.
pub(super) async fn connect(path: PathBuf, user: Option<Uid>) -> io::Result<UnixStream> {
    let stream = match user {
        None => connect_now(&path)?,
        Some(user) => {
            let (done, outcome) = oneshot::channel();
            thread::Builder::new().name("ogha-connect".to_owned()).spawn(move || {
                let stream = become_user(user).and_then(|()| connect_now(&path));
                // Nobody listens if the caller's deadline has passed: the socket closes.
                drop(done.send(stream));
            })?;
            outcome.await.map_err(io::Error::other)??
        }
    };
    UnixStream::from_std(stream)
}

fn connect_now(path: &std::path::Path) -> io::Result<unix::net::UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(unix::net::UnixStream::from(OwnedFd::from(socket)))
}

/// Changes the effective user of this thread alone, for the rest of its life. Its real and saved
/// user stay root's, so that the database's user can neither signal nor trace the agent meanwhile.
fn become_user(user: Uid) -> io::Result<()> {
    const UNCHANGED: libc::uid_t = libc::uid_t::MAX;
    // SAFETY: three integers are passed and no memory. The system call itself, not the C library's
    // wrapper, because the wrapper changes all threads of the process.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, UNCHANGED, user.as_raw(), UNCHANGED) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use nix::{
        sys::socket::{getsockopt, sockopt::PeerCredentials},
        unistd::geteuid,
    };

    use super::*;

    #[tokio::test]
    async fn the_server_sees_the_other_user_and_the_agent_stays_itself() {
        assert!(geteuid().is_root(), "this test needs root, to connect as another user");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = unix::net::UnixListener::bind(&path).unwrap();
        for open in [dir.path(), &path] {
            let mode = unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(open, mode).unwrap();
        }
        let _client = connect(path.clone(), Some(Uid::from_raw(65534))).await.unwrap();
        let (server, _) = listener.accept().unwrap();
        assert_eq!(getsockopt(&server, PeerCredentials).unwrap().uid(), 65534);
        assert!(geteuid().is_root());

        let _client = connect(path, None).await.unwrap();
        let (server, _) = listener.accept().unwrap();
        assert_eq!(getsockopt(&server, PeerCredentials).unwrap().uid(), 0);
    }

    #[tokio::test]
    async fn a_server_that_does_not_accept_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _first = connect(path.clone(), None).await.unwrap();
        let refused = connect(path, None).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
