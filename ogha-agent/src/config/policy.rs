//! `[instance.failover]` and `[instance.arbiter]`

use super::{
    reader::{Read, Reader},
    types::{Arbiter, ClosedGate, Failover, Rejoin},
    value,
};

/// What is planned but not there: each gets an answer of its own instead of "unknown".
fn not_yet<T: Copy>(
    table: &Reader<'_>,
    key: &str,
    default: Read<T>,
    words: &[(&'static str, Option<T>)],
) -> Read<T> {
    let Some(chosen) = table.maybe(key, |value| value::word(value, words))? else {
        return default;
    };
    if chosen.is_none() {
        let supported: Vec<_> = words
            .iter()
            .filter(|(_, meaning)| meaning.is_some())
            .map(|(word, _)| format!("{word:?}"))
            .collect();
        let given = table.given(key);
        let what = format!("{given:?} is not supported yet; use {}", supported.join(" or "));
        table.problem(key, what);
    }
    chosen
}

pub(super) fn failover(table: &Reader<'_>) -> Read<Failover> {
    let max_lag = table.or("max_lag", 0, value::size);
    let rejoins = [("manual", Some(Rejoin::Manual)), ("auto", None)];
    let rejoin = not_yet(table, "rejoin", Some(Rejoin::Manual), &rejoins);
    let gates = [("reject", Some(ClosedGate::Reject)), ("park", None)];
    let closed_gate = not_yet(table, "closed_gate", Some(ClosedGate::Reject), &gates);
    table.finish();
    Some(Failover { max_lag: max_lag?, rejoin: rejoin?, closed_gate: closed_gate? })
}

/// The operator must choose the arbiter of a database, for none is a choice with a price; an
/// address without a database has nothing to lose.
pub(super) fn arbiter(instance: &Reader<'_>, guards_data: bool) -> Read<Arbiter> {
    let missing = "is missing and has no default; add [instance.arbiter] with kind = \"none\" \
                   if you accept that without an arbiter a cut network looks like a dead peer, \
                   so that both nodes may promote";
    if !instance.has("arbiter") && guards_data {
        instance.problem("arbiter", missing);
        return None;
    }
    let table = instance.table("arbiter")?;
    if !table.has("kind") && guards_data {
        table.problem("kind", missing);
    }
    let kinds = [("none", Some(Arbiter::None)), ("gateway", None), ("etcd", None)];
    let default = (!guards_data).then_some(Arbiter::None);
    let arbiter = not_yet(&table, "kind", default, &kinds);
    for (key, kind) in [("addresses", "gateway"), ("endpoints", "etcd")] {
        if arbiter.is_some() && table.has(key) {
            let what = format!("belongs to kind = {kind:?}, which is not supported yet; remove it");
            table.problem(key, what);
        }
    }
    table.finish();
    arbiter
}
