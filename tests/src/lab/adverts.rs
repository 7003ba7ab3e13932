//! The adverts that pass a host: who said at which moment that it is active.

use std::{
    mem::MaybeUninit,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use ogha_common::{units::Instant, wire::vrrp};
use socket2::Socket;

use super::{Host, client::packet_socket, clock};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERNET: usize = 14;
const OFTEN: Duration = Duration::from_millis(20);

/// An advert that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// Who sent it.
    pub source: Ipv4Addr,
    /// The priority that it names; 0: its sender gives up the role.
    pub priority: u8,
}

/// A thread that hears every advert over IPv4 that reaches a host, until stopped. Those that
/// go to another host alone do not.
#[derive(Debug)]
pub struct Adverts {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Heard>>>,
}

impl Adverts {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn start(host: &Host) -> Result<Self> {
        let socket = host.namespace().enter(|| packet_socket(ETHERTYPE_IPV4))?;
        socket.set_read_timeout(Some(OFTEN))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || listen(&socket, &stopped));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// What was heard, in the order of time.
    ///
    /// # Errors
    /// If the thread has panicked.
    pub fn stop(mut self) -> Result<Vec<Heard>> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("stopped twice")?;
        thread.join().map_err(|_| anyhow::anyhow!("the listener to adverts panicked"))
    }
}

impl Drop for Adverts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn listen(socket: &Socket, stop: &AtomicBool) -> Vec<Heard> {
    let mut heard = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let mut buffer = [MaybeUninit::new(0_u8); 256];
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        // SAFETY: every byte was initialised above.
        let frame: Vec<u8> = buffer[..length].iter().map(|b| unsafe { b.assume_init() }).collect();
        heard.extend(advert(&frame));
    }
    heard
}

/// The source and the priority, if the frame is an advert.
fn advert(frame: &[u8]) -> Option<Heard> {
    let packet = frame.get(ETHERNET..)?;
    let header = packet.first_chunk::<20>()?;
    if header[9] != vrrp::IP_PROTOCOL {
        return None;
    }
    let message = packet.get(usize::from(header[0] & 0xf) * 4..)?;
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    Some(Heard { at: clock::now(), source, priority: *message.get(2)? })
}
