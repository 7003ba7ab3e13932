//! What the scenarios have in common.

use std::time::Duration;

use ogha_tests::lab::{
    Pair,
    agent::{Kind, Settings},
    clock,
};

pub const OFTEN: Duration = Duration::from_millis(10);
pub const GENEROUS: Duration = ogha_tests::lab::pair::GENEROUS;

/// Nodes that bear with a busy machine.
pub fn settings() -> Settings {
    Settings::patient(Kind::Postgresql)
}

/// A pair of them at work.
pub fn pair(name: &str) -> Pair {
    Pair::start(name, &settings()).unwrap()
}

/// Nothing has moved: the first node serves as ever, and has closed nothing.
pub fn assert_untouched(pair: &Pair) {
    let instance = pair.nodes[0].agent.instance().unwrap();
    assert_eq!(
        (&instance["phase"], &instance["gate"]),
        (&"serving".into(), &"open".into()),
        "{instance}"
    );
    assert_ne!(instance["database"]["verdict"], "hung", "{instance}");
    let history = pair.nodes[0].agent.history().unwrap();
    assert!(!history.to_string().contains("the database hangs"), "{history}");
    let log = pair.nodes[0].agent.log();
    assert!(!log.contains("the database here is hung"), "{log}");
}

/// Waits until the first node's agent finds its database hung, and returns how long that took.
pub fn hung_after(pair: &Pair, evidence: &str) -> Duration {
    let begin = clock::now();
    clock::wait_until("the hang to be found", GENEROUS, OFTEN, || {
        let log = pair.nodes[0].agent.log();
        let found =
            |line: &str| line.contains("the database here is hung") && line.contains(evidence);
        Ok(log.lines().any(found).then(|| clock::now().since(begin)))
    })
    .unwrap()
}
