//! Signals: which end the agent, which reload its configuration, and which must do nothing.
//!
//! A signal that is not handled ends a process. None that a person, a terminal or a limit may send by
//! accident may end this one. Handlers, and not "ignored", for what is ignored is inherited by tools and by
//! a database that is started.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Logged, and otherwise without effect: a person may have meant something.
const WITHOUT_MEANING: [(libc::c_int, &str); 2] =
    [(libc::SIGUSR1, "SIGUSR1"), (libc::SIGUSR2, "SIGUSR2")];

/// Sent by the kernel to whom a limit or a terminal stops: the call fails, which is handled where it was
/// made. SIGPIPE is among them, though the standard library ignores it already.
const OF_LIMITS: [libc::c_int; 8] = [
    libc::SIGPIPE,
    libc::SIGXFSZ,
    libc::SIGXCPU,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGTTOU,
];

/// What a signal orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM, SIGINT: the agent is to end.
    End,
    /// SIGHUP: the configuration is to be read again.
    Reload,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    without_meaning: [Signal; 2],
    _of_limits: Vec<Signal>,
}

impl Signals {
    /// From now on signals are handled here. Must run within a runtime.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take() -> io::Result<Self> {
        let [first, second] = WITHOUT_MEANING.map(|(number, _)| of(number));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            without_meaning: [first?, second?],
            _of_limits: OF_LIMITS.into_iter().map(of).collect::<io::Result<_>>()?,
        })
    }

    /// The next order. May be dropped at any point.
    pub async fn next(&mut self) -> Order {
        let [first, second] = &mut self.without_meaning;
        loop {
            let without_meaning = tokio::select! {
                _ = self.terminate.recv() => return Order::End,
                _ = self.interrupt.recv() => return Order::End,
                _ = self.hang_up.recv() => return Order::Reload,
                _ = first.recv() => WITHOUT_MEANING[0].1,
                _ = second.recv() => WITHOUT_MEANING[1].1,
            };
            info!("{without_meaning} has no meaning here; SIGHUP reloads the configuration");
        }
    }
}

fn of(number: libc::c_int) -> io::Result<Signal> {
    signal(SignalKind::from_raw(number))
}
