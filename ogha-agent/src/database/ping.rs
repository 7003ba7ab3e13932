//! The active check of a server, here or on a peer: a request for encryption, which every server of the
//! PostgreSQL family answers by one octet before it asks who is there (PostgreSQL's documentation,
//! "Message Flow", sections "SSL Session Encryption" and "GSSAPI Session Encryption").
//!
//! `GSSENCRequest` is taken where the server knows it (PostgreSQL 12 and later): a server with `ssl = on`
//! logs a line for each `SSLRequest` that is not followed by a handshake.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ogha_common::detector::CheckOutcome;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Length, and the code 1234.5680.
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// Length, and the code 1234.5679.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// What an error begins with, instead of the one octet.
const ERROR: u8 = b'E';
/// What an older server says of a request that it does not know. (It speaks its own language, but the
/// code is in it: 1234.5680.)
const UNKNOWN_CODE: &[u8] = b"1234.5680";
/// How long a peer's server may take to make a process that answers.
const DEADLINE: Duration = Duration::from_secs(1);
/// The same of the server here, to which no network leads. A busy one was seen to take 63 ms.
const OWN_DEADLINE: Duration = Duration::from_millis(300);

/// Checks one server, again and again.
#[derive(Debug)]
pub struct Pinger {
    server: SocketAddr,
    here: bool,
    /// It is known not to know `GSSENCRequest`.
    ssl: AtomicBool,
}

impl Pinger {
    /// Of a server `here`, or of a peer's. `gssenc`: it may know `GSSENCRequest`.
    #[must_use]
    pub const fn new(server: SocketAddr, here: bool, gssenc: bool) -> Self {
        Self { server, here, ssl: AtomicBool::new(!gssenc) }
    }

    /// Where it was when the agent started.
    pub const fn address(&self) -> IpAddr {
        self.server.ip()
    }

    /// Asks once, at that address. A peer's host that does not answer at all is no outcome: the probes tell of it.
    pub async fn ping(&self, address: IpAddr) -> CheckOutcome {
        let deadline = if self.here { OWN_DEADLINE } else { DEADLINE };
        let server = SocketAddr::new(address, self.server.port());
        let connected = match timeout(deadline, TcpStream::connect(server)).await {
            Err(_) if self.here => return CheckOutcome::NoAnswer,
            Err(_) => return CheckOutcome::Unknown,
            Ok(connected) => connected,
        };
        match connected {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => CheckOutcome::Refused,
            Err(_) => CheckOutcome::Unknown,
            // The kernel has taken the connection: from here on it is the server's turn.
            Ok(stream) => match timeout(deadline, self.ask(stream)).await {
                Ok(Ok(())) => CheckOutcome::Answered,
                // It closed the connection, as one that starts or has no room does: it lives.
                Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => CheckOutcome::Answered,
                Ok(Err(_)) => CheckOutcome::Unknown,
                Err(_) => CheckOutcome::NoAnswer,
            },
        }
    }

    async fn ask(&self, mut stream: TcpStream) -> io::Result<()> {
        let ssl = self.ssl.load(Ordering::Relaxed);
        stream.write_all(if ssl { &SSL_REQUEST } else { &GSSENC_REQUEST }).await?;
        let answer = stream.read_u8().await?;
        if answer == ERROR && !ssl {
            // An error ends the connection.
            let mut text = Vec::new();
            stream.take(1024).read_to_end(&mut text).await?;
            let unknown = text.windows(UNKNOWN_CODE.len()).any(|part| part == UNKNOWN_CODE);
            self.ssl.fetch_or(unknown, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, Pinger) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pinger = Pinger::new(listener.local_addr().unwrap(), true, true);
        (listener, pinger)
    }

    /// Takes one request, and answers it.
    async fn serve(listener: &TcpListener, answer: &[u8]) -> [u8; 8] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(answer).await.unwrap();
        request
    }

    #[tokio::test]
    async fn one_octet_is_an_answer() {
        let (listener, pinger) = listener().await;
        for _ in 0..2 {
            let (outcome, request) =
                tokio::join!(pinger.ping(pinger.address()), serve(&listener, b"N"));
            assert_eq!((outcome, request), (CheckOutcome::Answered, GSSENC_REQUEST));
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_the_one_request_gets_the_other() {
        let (listener, pinger) = listener().await;
        let unknown =
            b"E\0\0\0\x60SFATAL\0Munsupported frontend protocol 1234.5680: server supports";
        for (answer, asked) in [
            (&b"E\0\0\0\x20SFATAL\0Mcould not fork"[..], GSSENC_REQUEST),
            (&unknown[..], GSSENC_REQUEST),
            (b"N", SSL_REQUEST),
            (b"S", SSL_REQUEST),
        ] {
            let (outcome, request) =
                tokio::join!(pinger.ping(pinger.address()), serve(&listener, answer));
            assert_eq!((outcome, request), (CheckOutcome::Answered, asked));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let never = Pinger::new(listener.local_addr().unwrap(), false, false);
        let (_, request) = tokio::join!(never.ping(never.address()), serve(&listener, b"N"));
        assert_eq!(request, SSL_REQUEST);
    }

    #[tokio::test]
    async fn a_server_that_accepts_nothing_does_not_answer() {
        let (_listener, pinger) = listener().await;
        assert_eq!(pinger.ping(pinger.address()).await, CheckOutcome::NoAnswer);
    }

    #[tokio::test]
    async fn a_port_without_a_listener_refuses() {
        let (listener, pinger) = listener().await;
        drop(listener);
        assert_eq!(pinger.ping(pinger.address()).await, CheckOutcome::Refused);
    }
}
