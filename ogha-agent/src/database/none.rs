//! No database: a VIP for any service, which all nodes may serve alike.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{net::TcpStream, time::timeout};

use super::{Database, Observation, Process, Role, Step};

const CONNECT_DEADLINE: Duration = Duration::from_millis(500);

/// A service of which only a TCP port is known, or nothing.
#[derive(Debug)]
pub struct Service {
    port: Option<u16>,
}

impl Service {
    /// `port` is checked on the loopback addresses; without one the service is always there.
    #[must_use]
    pub const fn new(port: Option<u16>) -> Self {
        Self { port }
    }

    async fn check(&self) -> Result<(), Failure> {
        let Some(port) = self.port else { return Ok(()) };
        let Err(error) = connect(Ipv4Addr::LOCALHOST.into(), port).await else { return Ok(()) };
        let Err(other) = connect(Ipv6Addr::LOCALHOST.into(), port).await else { return Ok(()) };
        Err(Failure {
            refused: is_refusal(&error) && is_refusal(&other),
            silent: error.kind() == io::ErrorKind::TimedOut,
            text: format!("cannot connect to 127.0.0.1:{port}: {error}"),
        })
    }
}

/// Why the service was not reached.
struct Failure {
    /// Nobody listens, for sure.
    refused: bool,
    /// There was no answer in time.
    silent: bool,
    text: String,
}

impl Failure {
    fn observation(self) -> Observation {
        let (process, state) = match (self.refused, self.silent) {
            (true, _) => (Process::Gone, "stopped"),
            (false, true) => (Process::Unknown, "unreachable"),
            // The check failed, not the service: this process may have no descriptor left.
            (false, false) => (Process::Unknown, "unknown"),
        };
        let state = state.to_owned();
        Observation { process, state, error: Some(self.text), ..Observation::default() }
    }
}

/// Nobody listens there, or this host has no such address.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused};
    let absent = matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::ENETUNREACH));
    absent || matches!(error.kind(), ConnectionRefused | AddrNotAvailable)
}

async fn connect(address: IpAddr, port: u16) -> io::Result<()> {
    timeout(CONNECT_DEADLINE, TcpStream::connect((address, port))).await??;
    Ok(())
}

impl Database for Service {
    fn kind(&self) -> &'static str {
        "none"
    }

    /// A service that answers is a primary that takes writes, on every node.
    fn observe(&self) -> BoxFuture<'_, Observation> {
        async {
            match self.check().await {
                Ok(()) => Observation {
                    role: Role::Primary,
                    state: "normal".to_owned(),
                    writable: true,
                    ..Observation::default()
                },
                Err(failure) => failure.observation(),
            }
        }
        .boxed()
    }

    fn writable(&self) -> BoxFuture<'_, bool> {
        async { self.check().await.is_ok() }.boxed()
    }

    /// There is nothing to promote, and the closed gate is all the fence that there can be.
    fn perform(&self, _step: Step) -> BoxFuture<'_, anyhow::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_answers_and_one_that_does_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(address).await else { continue };
            let port = listener.local_addr().unwrap().port();
            let service = Service::new(Some(port));
            assert!(service.observe().await.writable);
            drop(listener);
            let seen = service.observe().await;
            assert_eq!((seen.role, seen.state.as_str()), (Role::Unknown, "stopped"));
            assert_eq!(seen.process, Process::Gone);
            assert!(seen.error.unwrap().contains(&port.to_string()));
        }
        assert!(Service::new(None).observe().await.writable);
    }

    #[test]
    fn a_check_that_failed_by_itself_is_no_death() {
        let failed = |error: io::Error| is_refusal(&error);
        assert!(failed(io::ErrorKind::ConnectionRefused.into()));
        assert!(failed(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL)));
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN] {
            assert!(!failed(io::Error::from_raw_os_error(errno)), "{errno}");
        }
        let seen = |refused, silent| {
            let failure = Failure { refused, silent, text: String::new() };
            let seen = failure.observation();
            (seen.process, seen.state)
        };
        assert_eq!(seen(false, false), (Process::Unknown, "unknown".to_owned()));
        assert_eq!(seen(false, true), (Process::Unknown, "unreachable".to_owned()));
    }
}
