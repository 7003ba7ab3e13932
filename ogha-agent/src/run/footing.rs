//! Where an instance stands on its host: its interface, its addresses there, and what is wrong with them.
//!
//! Pure: a [`Survey`] goes in, what has to be done about it comes out. Each survey is looked at as a whole, so
//! that an event that was lost costs half a second and nothing else.

use std::net::IpAddr;

use ogha_common::units::Instant;
use tracing::{info, warn};

use crate::net::{
    interface::Interface,
    survey::{HeldAddress, LinkFacts, Survey},
};

/// Whether the virtual addresses are where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressesSeen {
    /// When that was looked at.
    pub at: Instant,
    /// All of them are on the interface, usable, with their prefixes, and nowhere else.
    pub all: bool,
    /// None of them is on any interface of this host.
    pub none: bool,
}

/// What a survey means for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The interface is another one of the same name: sockets have to be bound again.
    pub anew: bool,
    /// Its Ethernet address is another one.
    pub new_mac: bool,
    /// It can be spoken through again, after it could not.
    pub risen: bool,
    /// Nothing enforces the gate there.
    pub unguarded: bool,
    /// This node's own address is not on the interface.
    pub homeless: bool,
    /// The virtual addresses.
    pub addresses: AddressesSeen,
}

/// An instance's place on its host.
#[derive(Debug)]
pub struct Footing {
    instance: String,
    /// The interface, as it is, or was before it went.
    pub interface: Interface,
    vips: Vec<(IpAddr, u8)>,
    /// This node's own address, from which it speaks.
    pub own: IpAddr,
    present: bool,
    running: bool,
    /// The interface is the one that the sockets were opened on, for all that is known.
    known: bool,
    /// Why nothing enforces the gate.
    unguarded: Option<String>,
    faults: Vec<String>,
}

impl Footing {
    /// All is well, so far.
    pub fn new(instance: &str, interface: &Interface, own: IpAddr, vips: &[(IpAddr, u8)]) -> Self {
        Self {
            instance: instance.to_owned(),
            interface: interface.clone(),
            vips: vips.to_vec(),
            own,
            present: true,
            running: true,
            known: true,
            unguarded: None,
            faults: Vec::new(),
        }
    }

    /// What is wrong, each in a sentence, for `status`.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Why nothing enforces the gate; `None` where the programs do.
    pub fn unguarded(&self) -> Option<&str> {
        self.unguarded.as_deref()
    }

    /// Whether an advert can go out: the interface is there, and was set up.
    pub fn is_up(&self) -> bool {
        self.present
    }

    /// Something was detached from the interface: it may be another one, though it has the same number.
    pub fn doubt(&mut self) {
        self.known = false;
    }

    /// Looks at a survey. `programs`: whether the programs are attached to the interface as it was at the
    /// last look, or why not.
    pub fn look(&mut self, survey: &Survey, programs: Result<(), String>) -> Outcome {
        let name = self.interface.name.clone();
        let link = survey.link(&name);
        let mut faults = Vec::new();
        let (anew, new_mac) = self.identify(link);
        let running = link.is_some_and(|link| link.running);
        let risen = running && (!self.running || anew || new_mac);
        (self.present, self.running) = (link.is_some_and(|link| link.up), running);
        match link {
            None => {}
            Some(link) if !link.up => faults.push(format!("interface {name} is down")),
            Some(link) if !link.running => faults.push(format!("interface {name} has no carrier")),
            Some(_) => {}
        }
        let unguarded = match (link, programs) {
            (None, _) => Some(format!("interface {name} is gone")),
            (Some(_), Err(why)) => Some(why),
            (Some(_), Ok(())) => None,
        };
        faults
            .splice(0..0, unguarded.iter().map(|why| format!("{why}: nothing enforces the gate")));
        let index = link.map(|link| link.index);
        let homeless = !survey.holders(self.own).any(|held| Some(held.index) == index);
        if homeless && link.is_some() {
            faults.push(format!(
                "this node's own address {} is not on {name}: it can send neither probes nor adverts",
                self.own
            ));
        }
        self.unguarded = unguarded;
        self.log(faults);
        let addresses = self.addresses(survey, index);
        let unguarded = self.unguarded.is_some();
        Outcome { anew, new_mac, risen, unguarded, homeless, addresses }
    }

    /// Takes over what the interface is now.
    fn identify(&mut self, link: Option<&LinkFacts>) -> (bool, bool) {
        let Some(link) = link else {
            self.known = false;
            return (false, false);
        };
        // One that was gone may have come back with the number that it had.
        let anew = link.index != self.interface.index || !self.known;
        let mac = link.mac.unwrap_or(self.interface.mac);
        let new_mac = mac != self.interface.mac;
        let (instance, name) = (&self.instance, &link.name);
        if anew {
            warn!(instance, "interface {name} was made anew (index {})", link.index);
        } else if new_mac {
            warn!(instance, "interface {name} has another Ethernet address");
        }
        (self.interface.index, self.interface.mac, self.known) = (link.index, mac, true);
        (anew, new_mac)
    }

    fn addresses(&self, survey: &Survey, index: Option<u32>) -> AddressesSeen {
        let in_place = |held: &HeldAddress, prefix| {
            Some(held.index) == index && held.prefix == prefix && held.settled
        };
        let well_held = |&(address, prefix): &(IpAddr, u8)| {
            let mut holders = survey.holders(address);
            holders.next().is_some_and(|held| in_place(held, prefix)) && holders.next().is_none()
        };
        AddressesSeen {
            at: survey.at,
            all: self.vips.iter().all(well_held),
            none: self.vips.iter().all(|&(vip, _)| survey.holders(vip).next().is_none()),
        }
    }

    /// What is wrong is logged when it begins, and when it ends.
    fn log(&mut self, faults: Vec<String>) {
        let instance = &self.instance;
        for fault in faults.iter().filter(|fault| !self.faults.contains(fault)) {
            warn!(instance, "{fault}");
        }
        for fault in self.faults.iter().filter(|fault| !faults.contains(fault)) {
            info!(instance, "no longer: {fault}");
        }
        self.faults = faults;
    }
}

/// What is wrong with virtual addresses, in words, for the log.
pub fn misplaced(survey: &Survey, interface: &str, vips: &[(IpAddr, u8)]) -> Vec<String> {
    let mut words = Vec::new();
    for &(vip, prefix) in vips {
        let mut held = false;
        for holder in survey.holders(vip) {
            let on = survey.name_of(holder.index).unwrap_or("an interface that is gone");
            if on != interface {
                words.push(format!("{vip} is on {on}"));
            } else if holder.prefix != prefix {
                words.push(format!("{vip} has the prefix /{}", holder.prefix));
            } else if holder.settled {
                held = true;
            } else {
                words.push(format!("{vip} cannot be used (duplicate address detection)"));
            }
        }
        if !held {
            words.push(format!("{vip}/{prefix} is not on {interface}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));
    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn link(index: u32, name: &str) -> LinkFacts {
        let mac = Some([2, 0, 0, 0, 0, 1]);
        LinkFacts { index, name: name.to_owned(), mac, up: true, running: true }
    }

    fn held(index: u32, address: IpAddr, prefix: u8) -> HeldAddress {
        HeldAddress { index, address, prefix, settled: true, protocol: 0 }
    }

    /// The interface with this node's own address and the virtual one.
    fn survey() -> Survey {
        Survey {
            at: Instant::from_ns(7),
            links: vec![link(1, "lo"), link(7, "eth0")],
            addresses: vec![held(7, OWN, 24), held(7, VIP, 32)],
        }
    }

    fn footing() -> Footing {
        let interface = Interface { name: "eth0".to_owned(), index: 7, mac: [2, 0, 0, 0, 0, 1] };
        Footing::new("VI_1", &interface, OWN, &[(VIP, 32)])
    }

    #[test]
    fn nothing_is_done_where_nothing_is_wrong() {
        let mut footing = footing();
        let outcome = footing.look(&survey(), Ok(()));
        let addresses = AddressesSeen { at: Instant::from_ns(7), all: true, none: false };
        let (anew, new_mac, risen, unguarded, homeless) = (false, false, false, false, false);
        let calm = Outcome { anew, new_mac, risen, unguarded, homeless, addresses };
        assert_eq!(outcome, calm);
        assert!(footing.faults().is_empty());
    }

    #[test]
    fn an_address_counts_where_it_belongs_alone() {
        let seen = |change: fn(&mut Survey)| {
            let mut survey = survey();
            change(&mut survey);
            let seen = footing().look(&survey, Ok(())).addresses;
            (seen.all, seen.none)
        };
        assert_eq!(seen(|s| s.addresses.truncate(1)), (false, true));
        assert_eq!(seen(|s| s.addresses[1].prefix = 24), (false, false));
        assert_eq!(seen(|s| s.addresses[1].index = 1), (false, false));
        assert_eq!(seen(|s| s.addresses[1].settled = false), (false, false));
        assert_eq!(seen(|s| s.addresses.push(held(1, VIP, 32))), (false, false));
        assert_eq!(seen(|s| s.addresses.push(held(7, VIP, 24))), (false, false));
    }

    #[test]
    fn an_interface_that_goes_and_comes_back_is_another_one() {
        let mut footing = footing();
        let mut gone = survey();
        gone.links.pop();
        gone.addresses.clear();
        let outcome = footing.look(&gone, Ok(()));
        assert!(outcome.unguarded && !outcome.anew && outcome.addresses.none);
        assert_eq!(footing.unguarded(), Some("interface eth0 is gone"));
        let mut back = survey();
        back.links[1].index = 9;
        back.links[1].mac = Some([2, 0, 0, 0, 0, 9]);
        back.addresses = vec![held(9, OWN, 24)];
        let outcome = footing.look(&back, Err("no programs on eth0".to_owned()));
        assert!(outcome.anew && outcome.new_mac && outcome.risen && outcome.unguarded);
        assert_eq!(footing.interface.index, 9);
        let outcome = footing.look(&back, Ok(()));
        assert!(!outcome.anew && !outcome.risen && !outcome.unguarded && !outcome.homeless);
        assert!(footing.faults().is_empty(), "{:?}", footing.faults());
    }

    #[test]
    fn an_interface_of_the_same_number_is_another_one_after_it_was_gone() {
        let mut footing = footing();
        let mut gone = survey();
        gone.links.pop();
        footing.look(&gone, Ok(()));
        let outcome = footing.look(&survey(), Ok(()));
        assert!(outcome.anew && outcome.risen);
        footing.doubt();
        assert!(footing.look(&survey(), Ok(())).anew);
        assert!(!footing.look(&survey(), Ok(())).anew);
    }

    #[test]
    fn an_interface_rises_when_it_can_be_spoken_through_again() {
        let mut footing = footing();
        let mut down = survey();
        (down.links[1].up, down.links[1].running) = (false, false);
        assert!(!footing.look(&down, Ok(())).risen && !footing.is_up());
        assert_eq!(footing.faults(), ["interface eth0 is down"]);
        down.links[1].up = true;
        assert!(!footing.look(&down, Ok(())).risen && footing.is_up());
        assert_eq!(footing.faults(), ["interface eth0 has no carrier"]);
        assert!(footing.look(&survey(), Ok(())).risen);
        assert!(!footing.look(&survey(), Ok(())).risen);
    }

    #[test]
    fn a_node_without_its_own_address_says_so() {
        let mut footing = footing();
        let mut bare = survey();
        bare.addresses.remove(0);
        assert!(footing.look(&bare, Ok(())).homeless);
        assert!(footing.faults()[0].contains("192.0.2.1 is not on eth0"));
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let mut wrong = survey();
        wrong.addresses = vec![held(1, VIP, 32), held(7, VIP, 24)];
        let words = misplaced(&wrong, "eth0", &[(VIP, 32)]);
        let wanted = [
            "192.0.2.10 is on lo",
            "192.0.2.10 has the prefix /24",
            "192.0.2.10/32 is not on eth0",
        ];
        assert_eq!(words, wanted);
        assert!(misplaced(&survey(), "eth0", &[(VIP, 32)]).is_empty());
    }
}
