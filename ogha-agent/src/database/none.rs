//! No database: a VIP for any service, which all nodes may serve alike.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{net::TcpStream, time::timeout};

use super::{Database, Observation, Role, Step};

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

    async fn check(&self) -> Result<(), String> {
        let Some(port) = self.port else { return Ok(()) };
        let Err(error) = connect(Ipv4Addr::LOCALHOST.into(), port).await else { return Ok(()) };
        let Err(_) = connect(Ipv6Addr::LOCALHOST.into(), port).await else { return Ok(()) };
        Err(format!("cannot connect to 127.0.0.1:{port}: {error}"))
    }
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
                Err(error) => Observation {
                    state: "unreachable".to_owned(),
                    error: Some(error),
                    ..Observation::default()
                },
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
            assert_eq!((seen.role, seen.state.as_str()), (Role::Unknown, "unreachable"));
            assert!(seen.error.unwrap().contains(&port.to_string()));
        }
        assert!(Service::new(None).observe().await.writable);
    }
}
