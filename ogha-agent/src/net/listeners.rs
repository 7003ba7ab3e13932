//! Whether anything listens on a TCP port of this network namespace.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// Whether a socket listens on the port, on any address. Events tell when that changes; this
/// tells how it is.
#[must_use]
pub fn listening(port: u16) -> bool {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .filter_map(|path| File::open(path).ok())
        .any(|table| lists(BufReader::new(table).lines().map_while(Result::ok), port))
}

/// The kernel lists the listeners first, so a busy server's connections are not read.
fn lists(lines: impl Iterator<Item = String>, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    lines
        .skip(1)
        .map_while(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next()?.to_owned();
            (fields.nth(1)? == LISTEN).then_some(local)
        })
        .any(|local| local.ends_with(&wanted))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_seen_while_it_lasts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening(port));
        drop(listener);
        assert!(!listening(port));
    }

    #[test]
    fn a_connection_is_no_listener() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when
   0: 0100007F:6590 00000000:0000 0A 00000000:00000000 00:00000000
   1: 0100007F:6591 0100007F:D431 01 00000000:00000000 00:00000000";
        let lines = || table.lines().map(str::to_owned);
        assert!(lists(lines(), 26000));
        assert!(!lists(lines(), 26001));
        assert!(!lists("".lines().map(str::to_owned), 26000));
    }
}
