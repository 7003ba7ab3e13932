//! `[instance.failover]` and `[instance.hooks]`

use std::time::Duration;

use super::{
    reader::{Read, Reader},
    types::{ClosedGate, Failover, Hooks, Rejoin},
    value,
};

const SECOND: Duration = Duration::from_secs(1);

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
    let synchronous = table.or("synchronous", true, value::boolean);
    let rejoins = [("manual", Rejoin::Manual), ("auto", Rejoin::Auto)];
    let rejoin = table.or("rejoin", Rejoin::Manual, |value| value::word(value, &rejoins));
    let restart_attempts =
        table.or("restart_attempts", 0, |value| value::integer(value, 0..=10, "2"));
    let switchover_timeout = table.or("switchover_timeout", 30 * SECOND, |value| {
        value::duration(value, SECOND..=3600 * SECOND)
    });
    let gates = [("reject", Some(ClosedGate::Reject)), ("park", None)];
    let closed_gate = not_yet(table, "closed_gate", Some(ClosedGate::Reject), &gates);
    table.finish();
    let (max_lag, synchronous) = (max_lag?, synchronous?);
    if synchronous && max_lag > 0 {
        let what = "means nothing where commits wait for the standby, which then has them all; set \
                    synchronous = false, or remove it";
        table.problem("max_lag", what);
    }
    Some(Failover {
        max_lag,
        synchronous,
        rejoin: rejoin?,
        restart_attempts: restart_attempts?,
        switchover_timeout: switchover_timeout?,
        closed_gate: closed_gate?,
    })
}

pub(super) fn hooks(table: &Reader<'_>) -> Read<Hooks> {
    let command = table.maybe("command", value::path);
    let timeout = table
        .or("timeout", 30 * SECOND, |value| value::duration(value, SECOND / 10..=3600 * SECOND));
    table.finish();
    Some(Hooks { command: command?, timeout: timeout? })
}
