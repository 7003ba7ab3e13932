//! Who may be asked on an interface whether a question arrives.

use std::{fs, net::Ipv4Addr};

/// Routes of IPv4 in the network namespace of the thread that reads it, as `proc_pid_net(5)` says.
const ROUTES: &str = "/proc/thread-self/net/route";

/// The default gateway behind the interface, if it has one.
#[must_use]
pub fn gateway(interface: &str) -> Option<Ipv4Addr> {
    gateway_in(&fs::read_to_string(ROUTES).ok()?, interface)
}

/// Columns: interface, destination, gateway; addresses are words in the host's byte order.
fn gateway_in(routes: &str, interface: &str) -> Option<Ipv4Addr> {
    routes.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        let (name, destination, gateway) = (columns.next()?, columns.next()?, columns.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        let here = name == interface && destination == "00000000" && gateway != 0;
        here.then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_that_of_the_interfaces_default_route() {
        let word = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let (gateway, zero) = (word([10, 0, 0, 1]), word([0; 4]));
        let routes = format!(
            "Iface\tDestination\tGateway\tFlags\neth1\t{zero}\t{}\t0003\neth0\t{}\t{zero}\t0001\n\
             eth0\t{zero}\t{gateway}\t0003\n",
            word([10, 1, 0, 1]),
            word([10, 0, 0, 0]),
        );
        assert_eq!(gateway_in(&routes, "eth0"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(gateway_in(&routes, "eth2"), None);
        assert_eq!(gateway_in("", "eth0"), None);
        assert_eq!(gateway_in("eth0 00000000", "eth0"), None);
    }
}
