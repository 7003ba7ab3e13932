//! Storms of connections by a client that has no login: what a stranger can do to a database's port.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::{Host, postgres::PORT};

/// How many connections a wave opens at a time.
pub const WAVE: usize = 1500;
/// From one wave to the next.
pub const EVERY: Duration = Duration::from_millis(1500);
const OFTEN: Duration = Duration::from_millis(20);

/// How far each connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It is opened, and says nothing.
    Opened,
    /// Half of a startup packet.
    HalfPacket,
    /// A request for encryption, and nothing after the answer.
    SslRequest,
    /// A whole login, of a user that does not exist.
    FailedLogin,
}

/// All of them.
pub const FORMS: [Form; 4] = [Form::Opened, Form::HalfPacket, Form::SslRequest, Form::FailedLogin];

impl Form {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::HalfPacket => "half a packet",
            Self::SslRequest => "SSLRequest",
            Self::FailedLogin => "failed login",
        }
    }

    fn says(self) -> Vec<u8> {
        let login = startup(b"user\0stranger\0database\0nothing\0\0");
        match self {
            Self::Opened => Vec::new(),
            Self::HalfPacket => login[..login.len() / 2].to_vec(),
            Self::SslRequest => vec![0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f],
            Self::FailedLogin => login,
        }
    }
}

/// A startup packet of version 3.0: its length, the version, the parameters.
fn startup(parameters: &[u8]) -> Vec<u8> {
    let length = (8 + parameters.len()) as u32;
    [&length.to_be_bytes()[..], &[0, 3, 0, 0], parameters].concat()
}

/// Wave after wave from that host, for that long. Returns how many connections were established.
///
/// # Errors
/// If this process may not have so many descriptors.
pub fn rage(client: &Host, server: IpAddr, form: Form, time: Duration) -> Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot have more descriptors")?;
    let says = form.says();
    client.namespace().enter(|| {
        let end = Instant::now() + time;
        let (mut established, mut before) = (0, Vec::new());
        while Instant::now() < end {
            let begun = Instant::now();
            let wave = open((server, PORT).into());
            speak(&wave, &says, begun + EVERY * 2 / 3);
            established += wave.iter().filter(|socket| socket.peer_addr().is_ok()).count();
            thread::sleep(EVERY.saturating_sub(begun.elapsed()));
            // The last wave is there until this one is.
            before = wave;
        }
        drop(before);
        Ok(established)
    })
}

/// Begins them all, and waits for none.
fn open(server: SocketAddr) -> Vec<Socket> {
    let begin = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Closed by RST, for the client's ports would be used up soon.
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    };
    (0..WAVE).filter_map(|_| begin().ok()).collect()
}

/// Each says that as soon as it is connected.
fn speak(wave: &[Socket], says: &[u8], until: Instant) {
    if says.is_empty() {
        return;
    }
    let mut left: Vec<&Socket> = wave.iter().collect();
    while !left.is_empty() && Instant::now() < until {
        left.retain(|socket| {
            let mut socket: &Socket = socket;
            let said = socket.write(says);
            said.is_err_and(|error| {
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
            })
        });
        thread::sleep(OFTEN);
    }
}
