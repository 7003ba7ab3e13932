//! A router alone, input by input; many of them on one wire in [`network`].

extern crate std;
use std::{string::ToString as _, vec, vec::Vec};

use super::{
    Action::{Announce, Begin, DropAddresses, End, HoldAddresses, Renew, SendAdvert, SetGate},
    *,
};
use crate::{
    election::Advert,
    failover::GateOrder::{Claim, Close, Open},
    units::Priority,
    wire::vrrp::Version,
};

mod network;

const OWN: Priority = Priority::new(100);
const RELEASE: Priority = Priority::RELEASE;
const START: Instant = Instant::from_ns(10_000_000_000);
const HIGHER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 9));

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn config(preempt: bool) -> Config {
    Config {
        priority: OWN,
        advert_interval: Centis::ONE_SECOND,
        preempt,
        version: Version::V3,
        address: [192, 0, 2, 5].into(),
    }
}

fn advert(priority: u8) -> Input {
    let priority = Priority::new(priority);
    Input::Advert(Advert { priority, interval: Centis::ONE_SECOND, source: HIGHER })
}

struct Bench {
    router: Router,
    now: Instant,
}

impl Bench {
    fn new(preempt: bool) -> Self {
        Self { router: Router::new(config(preempt)), now: START }
    }

    /// What a machine carries out; timelines and notices are left out.
    fn input(&mut self, input: Input) -> Vec<Action> {
        let mut actions = self.all(input);
        actions.retain(|action| {
            !matches!(action, Begin { .. } | Action::Step(_) | End(_) | Action::Notice(_))
        });
        actions
    }

    fn all(&mut self, input: Input) -> Vec<Action> {
        let mut actions = vec![];
        self.router.handle(self.now, input, &mut |action| actions.push(action));
        actions
    }

    /// Ticks whenever that is due, till then; the machine does what it is told.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut all = vec![];
        while let Some(due) = self.router.next_timer().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let mut inputs = vec![Input::Tick];
            while let Some(input) = inputs.pop() {
                for action in self.input(input) {
                    all.push(action);
                    inputs.extend(answer(action));
                }
            }
        }
        self.now = end;
        all
    }

    fn started(preempt: bool) -> Self {
        let mut bench = Self::new(preempt);
        bench.input(Input::Started(Found::Shut));
        bench.input(Input::GateSet(Close));
        bench.input(Input::AddressesDropped);
        bench
    }

    fn serving(preempt: bool) -> Self {
        let mut bench = Self::started(preempt);
        bench.pass(ms(3610));
        assert_eq!(bench.router.phase(), PhaseName::Serving);
        bench
    }
}

/// What a machine on which all works answers.
fn answer(action: Action) -> Option<Input> {
    match action {
        SetGate { order, .. } => Some(Input::GateSet(order)),
        Renew { until } => Some(Input::Renewed { until }),
        HoldAddresses => Some(Input::AddressesHeld),
        DropAddresses => Some(Input::AddressesDropped),
        _ => None,
    }
}

#[test]
fn the_lease_ends_before_the_fastest_backup_takes_over() {
    for centis in 1..=4095 {
        let interval = Centis::new(centis).unwrap();
        let down = interval.duration() * 3 + Priority::HIGHEST.skew(interval);
        // Both clocks wrong by 1 part in 1000, against each other.
        assert!(lease(interval) * 1001 < down * 999, "{centis}");
        assert!(lease(interval) > interval.duration() * 5 / 2, "{centis}");
    }
}

#[test]
fn a_starting_router_clears_what_is_left_and_listens() {
    let mut bench = Bench::new(false);
    let close = SetGate { order: Close, until: START };
    assert_eq!(bench.input(Input::Started(Found::Shut)), [close, DropAddresses]);
    assert_eq!(bench.router.phase(), PhaseName::Backup);
    bench.input(Input::GateSet(Close));
    assert_eq!(bench.pass(ms(3600)), []);
    assert_eq!(bench.router.takeover_at(), Some(START + ms(3000) + OWN.skew(Centis::ONE_SECOND)));
}

#[test]
fn it_claims_tells_the_others_and_opens_in_that_order() {
    let mut bench = Bench::started(false);
    bench.now = bench.now + ms(3610);
    // It stood still for all that time.
    assert_eq!(bench.input(Input::Tick), [], "one advert is heard out");
    let until = bench.now + lease(Centis::ONE_SECOND);
    let mut bench = Bench::started(false);
    while bench.router.phase() == PhaseName::Backup {
        bench.now = bench.router.next_timer().unwrap();
        let actions = bench.input(Input::Tick);
        if bench.router.phase() == PhaseName::TakingOver {
            let until = bench.now + lease(Centis::ONE_SECOND);
            assert_eq!(actions, [SetGate { order: Claim, until }]);
        }
    }
    assert!(until > bench.now);
    let until = bench.now + lease(Centis::ONE_SECOND);
    assert_eq!(bench.input(Input::GateSet(Claim)), [SendAdvert(OWN), HoldAddresses]);
    assert_eq!(bench.input(Input::AddressesHeld), [SetGate { order: Open, until }]);
    assert_eq!(bench.input(Input::GateSet(Open)), [Announce]);
    assert_eq!(bench.router.phase(), PhaseName::Serving);
}

#[test]
fn each_advert_renews_the_lease_and_nothing_else_does() {
    let mut bench = Bench::serving(false);
    let actions = bench.pass(ms(10_000));
    let adverts = actions.iter().filter(|action| **action == SendAdvert(OWN)).count();
    let renewals = actions.iter().filter(|action| matches!(action, Renew { .. })).count();
    assert_eq!((adverts, renewals), (10, 10), "{actions:?}");
    for pair in actions.windows(2).filter(|pair| pair[1] == SendAdvert(OWN)) {
        assert!(matches!(pair[0], Renew { .. }), "the lease counts from before the advert");
    }
}

#[test]
fn a_lease_that_was_not_renewed_ends_the_role() {
    let mut bench = Bench::serving(false);
    bench.now = bench.now + ms(2980) + ms(10);
    let actions = bench.input(Input::Tick);
    assert_eq!(actions, [SetGate { order: Close, until: bench.now }, DropAddresses]);
    assert_eq!(bench.input(Input::GateSet(Close)), [SendAdvert(RELEASE)]);
    assert_eq!(bench.router.phase(), PhaseName::Backup);
    // By the kernel's word, too.
    let mut bench = Bench::serving(false);
    assert!(matches!(
        bench.input(Input::Lapsed)[..],
        [SetGate { order: Close, .. }, DropAddresses]
    ));
}

#[test]
fn a_router_that_stood_still_does_not_answer_who_serves_by_now() {
    let mut bench = Bench::serving(false);
    bench.now = bench.now + ms(6000);
    let actions = bench.input(advert(50));
    assert!(!actions.contains(&SendAdvert(OWN)), "{actions:?}");
    assert_eq!(bench.router.phase(), PhaseName::Backup);
    bench.input(Input::GateSet(Close));
    for _ in 0..20 {
        assert_eq!(bench.pass(ms(1000)), []);
        assert_eq!(bench.input(advert(50)), []);
    }
}

#[test]
fn it_yields_to_a_higher_priority_and_says_nothing() {
    let mut bench = Bench::serving(false);
    let close = SetGate { order: Close, until: bench.now };
    assert_eq!(bench.input(advert(150)), [close, DropAddresses]);
    assert_eq!(bench.input(Input::GateSet(Close)), []);
    for _ in 0..20 {
        assert_eq!(bench.pass(ms(1000)), []);
        assert_eq!(bench.input(advert(150)), []);
    }
}

#[test]
fn a_rival_of_lower_priority_is_answered_and_outannounced() {
    let mut bench = Bench::serving(false);
    bench.pass(ms(7500));
    let actions = bench.all(advert(50));
    assert!(matches!(actions[..2], [Renew { .. }, SendAdvert(OWN)]), "{actions:?}");
    assert!(actions.contains(&Announce));
    assert!(actions.contains(&Action::Notice(Notice::Rival(HIGHER, Priority::new(50)))));
    let again = bench.all(advert(50));
    assert!(!again.iter().any(|action| matches!(action, Announce | Action::Notice(_))));
}

#[test]
fn a_backup_stops_without_a_word() {
    let mut bench = Bench::started(false);
    assert_eq!(bench.all(Input::Stopping), []);
    assert!(bench.router.has_stopped());
    assert_eq!((bench.router.next_timer(), bench.all(Input::Tick)), (None, vec![]));
}

#[test]
fn the_active_router_stops_in_order() {
    let mut bench = Bench::serving(false);
    let close = SetGate { order: Close, until: bench.now };
    assert_eq!(bench.input(Input::Stopping), [close, DropAddresses]);
    assert_eq!(bench.input(Input::GateSet(Close)), []);
    assert_eq!(bench.input(Input::AddressesDropped), [SendAdvert(RELEASE)]);
    assert!(bench.router.has_stopped());
    // Addresses that cannot be taken off do not keep the others waiting.
    let mut bench = Bench::serving(false);
    bench.input(Input::Stopping);
    bench.input(Input::GateSet(Close));
    bench.now = bench.router.next_timer().unwrap();
    assert_eq!(bench.input(Input::Tick), [SendAdvert(RELEASE)]);
}

#[test]
fn the_role_is_not_free_before_the_gate_is_closed() {
    let mut bench = Bench::serving(false);
    bench.input(Input::Stopping);
    bench.input(Input::GateFailed(Close));
    bench.input(Input::AddressesDropped);
    let mut actions = vec![];
    while let Some(due) = bench.router.next_timer() {
        bench.now = due;
        actions.extend(bench.input(Input::Tick));
    }
    let close = |action: &Action| matches!(action, SetGate { order: Close, .. });
    assert!(actions.iter().all(close) && !actions.is_empty(), "{actions:?}");
    assert!(bench.router.has_stopped());
}

#[test]
fn a_gate_that_the_kernel_refuses_is_tried_with_growing_pauses() {
    let mut bench = Bench::started(false);
    let (mut tries, mut notices) = (vec![], 0);
    while bench.now < START + ms(300_000) {
        bench.now = bench.router.next_timer().unwrap().max(bench.now);
        let mut inputs = vec![Input::Tick];
        while let Some(input) = inputs.pop() {
            for action in bench.all(input) {
                match action {
                    SetGate { order: Claim, .. } => {
                        tries.push(bench.now);
                        inputs.push(Input::GateFailed(Claim));
                    }
                    SetGate { order, .. } => inputs.push(Input::GateSet(order)),
                    SendAdvert(_) => panic!("it does not serve"),
                    Action::Notice(_) => notices += 1,
                    _ => {}
                }
            }
        }
    }
    assert!((10..100).contains(&tries.len()), "{}", tries.len());
    assert_eq!(notices, 1);
}

#[test]
fn who_cannot_hold_the_addresses_lets_others_try() {
    let mut bench = Bench::started(false);
    let mut actions = vec![];
    while bench.router.phase() == PhaseName::Backup {
        bench.now = bench.router.next_timer().unwrap();
        bench.input(Input::Tick);
    }
    bench.input(Input::GateSet(Claim));
    while bench.router.phase() == PhaseName::TakingOver {
        bench.now = bench.router.next_timer().unwrap();
        for action in bench.input(Input::Tick) {
            actions.push(action);
            if let Renew { until } = action {
                bench.input(Input::Renewed { until });
            }
        }
    }
    assert!(matches!(actions[actions.len() - 2], SetGate { order: Close, .. }), "{actions:?}");
    assert_eq!(bench.input(Input::GateSet(Close)), [SendAdvert(RELEASE)]);
}

#[test]
fn an_open_gate_is_gone_on_with() {
    let mut bench = Bench::new(false);
    let until = START + lease(Centis::ONE_SECOND);
    let begins = bench.input(Input::Started(Found::Open));
    assert_eq!(begins, [HoldAddresses, SetGate { order: Open, until }]);
    assert_eq!(bench.input(Input::GateSet(Open)), [SendAdvert(OWN), Announce]);
    assert_eq!(bench.router.phase(), PhaseName::Serving);
}

#[test]
fn a_router_is_preempted_at_a_sign_of_its_life() {
    let mut bench = Bench::started(true);
    for _ in 0..3 {
        bench.pass(ms(1000));
        assert_eq!(bench.input(advert(50)), []);
    }
    // The own timer has fired, and nothing is heard since 900 ms.
    assert_eq!(bench.pass(ms(900)), []);
    let actions = bench.input(advert(50));
    assert!(matches!(actions[..], [SetGate { order: Claim, .. }]), "{actions:?}");
}

#[test]
fn the_gate_of_a_router_that_died_has_lapsed_before_another_opens() {
    let mut bench = Bench::started(true);
    bench.pass(ms(3000));
    bench.input(advert(50));
    let heard = bench.now;
    while bench.router.phase() == PhaseName::Backup {
        bench.now = bench.router.next_timer().unwrap();
        bench.input(Input::Tick);
    }
    assert!(bench.now >= heard + lease(Centis::ONE_SECOND), "{:?}", bench.now.since(heard));
    assert!(bench.now <= heard + ms(3700));
}

#[test]
fn a_pause_is_made_up_for_once_in_a_silence() {
    let mut bench = Bench::started(false);
    let mut last = bench.now;
    // Always late, by more than two intervals.
    while bench.router.phase() == PhaseName::Backup {
        bench.now = bench.now + ms(2500);
        bench.input(Input::Tick);
        last = bench.now;
    }
    assert!(last <= START + ms(7500), "{:?}", last.since(START));
}

#[test]
fn fast_adverts_do_not_make_it_deaf_to_slow_ones() {
    let fast = Config { advert_interval: Centis::new(10).unwrap(), ..config(false) };
    let mut bench = Bench { router: Router::new(fast), now: START };
    bench.input(Input::Started(Found::Shut));
    bench.input(Input::GateSet(Close));
    assert_eq!(bench.pass(ms(990)), []);
    for _ in 0..20 {
        assert_eq!(bench.input(advert(150)), []);
        assert_eq!(bench.pass(ms(1000)), []);
    }
}

#[test]
fn a_takeover_says_why() {
    let because = |inputs: &[Input], after: Duration| {
        let mut bench = Bench::started(false);
        inputs.iter().for_each(|input| drop(bench.input(*input)));
        bench.now = bench.now + after;
        bench.router.awake.at = bench.now;
        let actions = bench.all(Input::Tick);
        let cause = actions.iter().find_map(|action| match action {
            Begin { cause, .. } => Some(cause.to_string()),
            _ => None,
        });
        cause.unwrap_or_default()
    };
    assert_eq!(because(&[], ms(3700)), "no other router was heard");
    assert_eq!(because(&[advert(150)], ms(3700)), "the active router 192.0.2.9 is silent");
    let released = because(&[advert(150), advert(0)], ms(700));
    assert_eq!(released, "the active router 192.0.2.9 gave up its role");
}

/// No fence without programs: a router whose interface is gone closes its gate and gives up the role.
#[test]
fn without_programs_on_the_interface_a_router_is_backup() {
    let mut bench = Bench::serving(false);
    let done = bench.input(Input::Unguarded);
    assert!(done.iter().any(|action| matches!(action, SetGate { order: Close, .. })), "{done:?}");
    assert!(done.contains(&DropAddresses));
    assert_eq!(bench.router.phase(), PhaseName::Backup);
    for _ in 0..20 {
        assert_eq!(bench.input(Input::Unguarded), []);
        let done = bench.pass(ms(500));
        assert!(!done.iter().any(|action| matches!(action, SetGate { order: Claim, .. })));
    }
    assert_eq!(bench.router.phase(), PhaseName::Backup);
    bench.pass(ms(6000));
    assert_eq!(bench.router.phase(), PhaseName::Serving);
}

#[test]
fn an_interface_that_is_up_again_announces_the_addresses_of_the_active_router() {
    let mut bench = Bench::serving(false);
    bench.pass(ms(10_000));
    assert_eq!(bench.input(Input::Risen), [SendAdvert(OWN), Announce]);
    let again = bench.pass(ms(6000));
    assert_eq!(again.iter().filter(|action| **action == Announce).count(), 4);
    let mut backup = Bench::started(false);
    assert_eq!(backup.input(Input::Risen), []);
}
