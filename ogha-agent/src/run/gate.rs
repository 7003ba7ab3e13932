//! The rules by which the kernel is told of the gate and of whose grants count: what it was told is
//! read back, and what it refuses is tried again with growing pauses.

use ogha_common::{
    failover::{GateOrder, Input, NodeSet},
    maps::{self, Gate, LeaseGrants, Passage},
    units::{Instant, NodeId, Term},
};

use super::{
    ports::Ports,
    retry::{Retry, Trouble},
};

/// The gate of one instance, as the core orders it.
#[derive(Debug)]
pub struct GateKeeper {
    /// A closed gate that the kernel has refused.
    close: Option<Gate>,
    gate_trouble: Trouble,
    /// Whose grants are to count, where the kernel has refused to be told.
    granters: Option<NodeSet>,
    granters_trouble: Trouble,
    renew_trouble: Trouble,
    /// The peers grant the lease, and the kernel alone extends it.
    granted: bool,
    /// The end of the last lease grant could not be read.
    withdrawing: bool,
    withdraw_retry: Retry,
}

impl GateKeeper {
    /// The gate of that instance.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            close: None,
            gate_trouble: Trouble::new(instance, "set the gate"),
            granters: None,
            granters_trouble: Trouble::new(instance, "set the nodes that grant the lease"),
            renew_trouble: Trouble::new(instance, "renew the lease"),
            granted: false,
            withdrawing: false,
            withdraw_retry: Retry::default(),
        }
    }

    /// The core's order.
    ///
    /// A gate that can't be closed lapses by itself; the core hears of it when the kernel has it at
    /// last. One that can't be opened, or claimed, has failed at once.
    pub fn set(
        &mut self,
        order: GateOrder,
        term: Term,
        until: Instant,
        ports: &mut impl Ports,
    ) -> Option<Input> {
        let gate = Gate {
            state: if order == GateOrder::Open { maps::GATE_OPEN } else { maps::GATE_CLOSED },
            claimed: u32::from(order != GateOrder::Close),
            term: term.get(),
            lease_until_ns: until.ns(),
        };
        let failed_before = self.close.take().is_some();
        if order == GateOrder::Close {
            if failed_before && !self.gate_trouble.retry.is_due(ports.now()) {
                self.close = Some(gate);
                return None;
            }
            return self.close(gate, ports);
        }
        let set = ports.set_gate(gate).and_then(|()| ports.gate());
        let set = set.map_err(|e| format!("{e:#}"));
        match set.and_then(|read| check(&gate, &read, ports.now(), self.granted)) {
            Ok(true) => {
                self.gate_trouble.worked();
                Some(Input::GateSet(order))
            }
            Ok(false) => Some(Input::Lapsed),
            Err(reason) => {
                self.gate_trouble.failed(ports.now(), &reason);
                Some(Input::GateFailed(order))
            }
        }
    }

    fn close(&mut self, gate: Gate, ports: &mut impl Ports) -> Option<Input> {
        match ports.set_gate(gate) {
            Ok(()) => {
                self.gate_trouble.worked();
                Some(Input::GateSet(GateOrder::Close))
            }
            Err(e) => {
                self.gate_trouble.failed(ports.now(), &format!("{e:#}"));
                self.close = Some(gate);
                None
            }
        }
    }

    /// Whose grants are to count. Before the kernel has it the core widens no record and narrows no
    /// list.
    pub fn set_granters(&mut self, granters: NodeSet, ports: &mut impl Ports) -> Option<Input> {
        if self.granters == Some(granters) && !self.granters_trouble.retry.is_due(ports.now()) {
            return None;
        }
        let nodes: Vec<NodeId> = granters.iter().collect();
        match ports.set_granters(&nodes) {
            Ok(()) => {
                self.granters = None;
                self.granted = !granters.is_empty();
                self.granters_trouble.worked();
                Some(Input::GrantersSet(granters))
            }
            Err(e) => {
                self.granters = Some(granters);
                self.granters_trouble.failed(ports.now(), &format!("{e:#}"));
                None
            }
        }
    }

    /// Extends the lease of the gate. One that has lapsed stays so: somebody else may hold one by now.
    pub fn renew(&mut self, until: Instant, ports: &mut impl Ports) -> Option<Input> {
        let renewed = ports.gate().and_then(|(gate, heard)| {
            let passage = gate.passage(&heard, ports.now().ns());
            if !matches!(passage, Passage::Open | Passage::Claimed) {
                return Ok(Some(Input::Lapsed));
            }
            ports.set_gate(Gate { lease_until_ns: until.ns(), ..gate })?;
            Ok(None)
        });
        match renewed {
            Ok(input) => {
                self.renew_trouble.worked();
                input
            }
            Err(e) => {
                self.renew_trouble.failed(ports.now(), &format!("{e:#}"));
                None
            }
        }
    }

    /// The end of the last lease grant was read, or could not be: then it is read again after a pause.
    pub fn withdrawn(&mut self, granted_until: Option<Instant>, now: Instant) -> Option<Input> {
        self.withdrawing = granted_until.is_none();
        match granted_until {
            Some(_) => self.withdraw_retry.succeeded(),
            None => self.withdraw_retry.failed(now),
        }
        granted_until.map(|granted_until| Input::Withdrawn { granted_until })
    }

    /// Whether the last lease grant is to be read again now. `grants`: this node grants again, and nobody
    /// waits for that.
    pub fn rereads_grant(&mut self, now: Instant, grants: bool) -> bool {
        self.withdrawing &= !grants;
        self.withdrawing && self.withdraw_retry.is_due(now)
    }

    /// When [`GateKeeper::tick`] is due, or the last lease grant is to be read again.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let gate = self.gate_trouble.retry.at().filter(|_| self.close.is_some());
        let granters = self.granters_trouble.retry.at().filter(|_| self.granters.is_some());
        let withdraw = self.withdraw_retry.at().filter(|_| self.withdrawing);
        [gate, granters, withdraw].into_iter().flatten().min()
    }

    /// Tries again what is due.
    pub fn tick(&mut self, now: Instant, ports: &mut impl Ports, out: &mut Vec<Input>) {
        if self.gate_trouble.retry.is_due(now)
            && let Some(gate) = self.close.take()
        {
            out.extend(self.close(gate, ports));
        }
        if self.granters_trouble.retry.is_due(now)
            && let Some(granters) = self.granters
        {
            out.extend(self.set_granters(granters, ports));
        }
    }
}

/// Whether the gate that was read is the one that was written, and lets through what it should. False:
/// it has lapsed, or a higher term was heard. A lease that the peers grant may lapse and come back.
fn check(
    written: &Gate,
    (read, heard): &(Gate, LeaseGrants),
    now: Instant,
    granted: bool,
) -> Result<bool, String> {
    if read != written {
        return Err(format!("it was set to {written:?}, and is {read:?}"));
    }
    Ok(match read.passage(heard, now.ns()) {
        Passage::Open | Passage::Claimed => true,
        Passage::Lapsed => granted,
        Passage::Closed => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fake::Fake;

    fn gate() -> (GateKeeper, Fake) {
        (GateKeeper::new("VI_1"), Fake::default())
    }

    fn set(keeper: &mut GateKeeper, order: GateOrder, ports: &mut Fake) -> Option<Input> {
        let until = ports.now() + std::time::Duration::from_secs(1);
        keeper.set(order, Term::new(3), until, ports)
    }

    fn tick(keeper: &mut GateKeeper, ports: &mut Fake) -> Vec<Input> {
        let mut out = vec![];
        keeper.tick(ports.now(), ports, &mut out);
        out
    }

    #[test]
    fn an_open_gate_is_read_back() {
        let (mut keeper, mut ports) = gate();
        let open = set(&mut keeper, GateOrder::Open, &mut ports);
        assert_eq!(open, Some(Input::GateSet(GateOrder::Open)));
        ports.heard.term(4);
        assert_eq!(set(&mut keeper, GateOrder::Open, &mut ports), Some(Input::Lapsed));
        ports.heard = LeaseGrants::default();
        ports.deaf = true;
        ports.pass(1);
        let open = set(&mut keeper, GateOrder::Open, &mut ports);
        assert_eq!(open, Some(Input::GateFailed(GateOrder::Open)));
    }

    #[test]
    fn a_gate_that_cannot_be_closed_is_closed_later() {
        let (mut keeper, mut ports) = gate();
        set(&mut keeper, GateOrder::Open, &mut ports);
        ports.refuses = true;
        assert_eq!(set(&mut keeper, GateOrder::Close, &mut ports), None);
        for _ in 0..1000 {
            assert_eq!(set(&mut keeper, GateOrder::Close, &mut ports), None);
        }
        assert_eq!(ports.writes, 2, "a pause comes before the next attempt");
        ports.pass(100);
        assert_eq!(tick(&mut keeper, &mut ports), []);
        ports.refuses = false;
        ports.pass(200);
        assert_eq!(tick(&mut keeper, &mut ports), [Input::GateSet(GateOrder::Close)]);
        assert_eq!((ports.gate.state, keeper.next_timer()), (maps::GATE_CLOSED, None));
    }

    #[test]
    fn a_newer_order_takes_the_place_of_one_that_failed() {
        let (mut keeper, mut ports) = gate();
        ports.refuses = true;
        assert_eq!(set(&mut keeper, GateOrder::Close, &mut ports), None);
        ports.refuses = false;
        let claim = set(&mut keeper, GateOrder::Claim, &mut ports);
        assert_eq!(claim, Some(Input::GateSet(GateOrder::Claim)));
        ports.pass(10_000);
        assert_eq!(tick(&mut keeper, &mut ports), []);
    }

    #[test]
    fn granters_that_cannot_be_set_are_set_later() {
        let (mut keeper, mut ports) = gate();
        let db2 = NodeSet::of(NodeId::of("db2"));
        ports.refuses = true;
        assert_eq!(keeper.set_granters(db2, &mut ports), None);
        assert_eq!(keeper.set_granters(db2, &mut ports), None);
        assert_eq!(ports.writes, 1);
        ports.refuses = false;
        ports.pass(100);
        assert_eq!(tick(&mut keeper, &mut ports), [Input::GrantersSet(db2)]);
        assert_eq!(keeper.next_timer(), None);
    }

    #[test]
    fn a_lapsed_lease_is_not_renewed() {
        let (mut keeper, mut ports) = gate();
        set(&mut keeper, GateOrder::Open, &mut ports);
        let until = ports.now() + std::time::Duration::from_secs(9);
        assert_eq!(keeper.renew(until, &mut ports), None);
        assert_eq!(ports.gate.lease_until_ns, until.ns());
        ports.pass(9000);
        assert_eq!(keeper.renew(until, &mut ports), Some(Input::Lapsed));
    }

    #[test]
    fn a_grant_that_cannot_be_read_is_read_again() {
        let (mut keeper, mut ports) = gate();
        assert_eq!(keeper.withdrawn(None, ports.now()), None);
        assert!(!keeper.rereads_grant(ports.now(), false));
        ports.pass(100);
        assert!(keeper.rereads_grant(ports.now(), false));
        let until = ports.now();
        let input = Input::Withdrawn { granted_until: until };
        assert_eq!(keeper.withdrawn(Some(until), ports.now()), Some(input));
        assert_eq!(keeper.next_timer(), None);
        keeper.withdrawn(None, ports.now());
        ports.pass(100);
        assert!(!keeper.rereads_grant(ports.now(), true), "it grants again");
        assert_eq!(keeper.next_timer(), None);
    }
}
