//! Signals: which end the agent, which reload its configuration, and which must do nothing.
//!
//! A signal that is not handled ends a process. None that a person, a terminal or a limit may send by
//! accident may end this one. Handlers, and not "ignored", for what is ignored is inherited by tools and by
//! a database that is started.

use std::io;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal as Number, sigaction};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Logged, and otherwise without effect: a person may have meant something.
const WITHOUT_MEANING: [(libc::c_int, &str); 2] =
    [(libc::SIGUSR1, "SIGUSR1"), (libc::SIGUSR2, "SIGUSR2")];

/// Sent by the kernel to whom a limit or a terminal stops: the call fails, which is handled where it was
/// made. SIGPIPE is among them, though the standard library ignores it already. The last three are taken by
/// [`Signals::take`], and before it they must do nothing.
const HARMLESS: [Number; 11] = [
    Number::SIGPIPE,
    Number::SIGXFSZ,
    Number::SIGXCPU,
    Number::SIGALRM,
    Number::SIGVTALRM,
    Number::SIGPROF,
    Number::SIGIO,
    Number::SIGTTOU,
    Number::SIGUSR1,
    Number::SIGUSR2,
    Number::SIGHUP,
];

/// From now on none of them ends this process. To be called before the first line of the log.
///
/// # Errors
/// When the kernel refuses.
pub fn survive() -> nix::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    HARMLESS.into_iter().try_for_each(|number| {
        // SAFETY: the handler does nothing, so that it may run at any point.
        unsafe { sigaction(number, &action) }.map(drop)
    })
}

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
