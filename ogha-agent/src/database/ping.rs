//! The active check of a server, here or on a peer: an `SSLRequest`, which every server of the
//! PostgreSQL family answers by one octet before it asks who is there (PostgreSQL's documentation,
//! "Message Flow", section "SSL Session Encryption").

use std::{io, net::SocketAddr, time::Duration};

use ogha_common::detector::CheckOutcome;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Length, and the code 1234.5679.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// How long a server may take to make a process that answers.
const DEADLINE: Duration = Duration::from_secs(1);

/// Asks once. A host that does not answer at all is no outcome: the probes tell of it.
pub async fn ping(server: SocketAddr) -> CheckOutcome {
    match timeout(DEADLINE, TcpStream::connect(server)).await {
        Err(_) => CheckOutcome::Unknown,
        Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => CheckOutcome::Refused,
        Ok(Err(_)) => CheckOutcome::Unknown,
        // The kernel has taken the connection: from here on it is the server's turn.
        Ok(Ok(stream)) => match timeout(DEADLINE, ask(stream)).await {
            Ok(Ok(())) => CheckOutcome::Answered,
            // It closed the connection, as one that starts or has no room does: it lives.
            Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => CheckOutcome::Answered,
            Ok(Err(_)) => CheckOutcome::Unknown,
            Err(_) => CheckOutcome::NoAnswer,
        },
    }
}

async fn ask(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&SSL_REQUEST).await?;
    stream.read_u8().await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn one_octet_is_an_answer() {
        let (listener, address) = listener().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, SSL_REQUEST);
            stream.write_all(b"N").await.unwrap();
        };
        let (outcome, ()) = tokio::join!(ping(address), server);
        assert_eq!(outcome, CheckOutcome::Answered);
    }

    #[tokio::test]
    async fn a_server_that_accepts_nothing_does_not_answer() {
        let (_listener, address) = listener().await;
        assert_eq!(ping(address).await, CheckOutcome::NoAnswer);
    }

    #[tokio::test]
    async fn a_port_without_a_listener_refuses() {
        let (listener, address) = listener().await;
        drop(listener);
        assert_eq!(ping(address).await, CheckOutcome::Refused);
    }
}
