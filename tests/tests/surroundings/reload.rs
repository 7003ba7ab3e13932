//! The configuration is read again: what may change takes effect, what is wrong changes nothing.

use std::{fs, thread};

use nix::sys::signal::Signal;
use ogha_tests::lab::{
    Pair,
    agent::{Kind, Settings},
};

use crate::stage::{order, until, until_logged};

/// A pair goes through good and bad files; nobody moves, but for the failover in which one is reloaded.
#[test]
fn a_reload_takes_on_what_it_can_and_nothing_of_a_bad_file() {
    let pair = Pair::start("reload", &Settings::patient(Kind::Postgresql)).unwrap();
    let agent = &pair.nodes[0].agent;
    let path = agent.config_path();
    let good = fs::read_to_string(&path).unwrap();
    let term = agent.instance().unwrap()["term"].clone();

    // Bad files, each with what is said of it.
    for (bad, expected) in [
        ("[node\n".to_owned(), ":1: "),
        (good.replace("rejoin = ", "rejion = "), "did you mean \"rejoin\"?"),
        (good.replace("priority = 100", "priority = 0"), "out of range"),
        (String::new(), "is missing"),
    ] {
        fs::write(&path, bad).unwrap();
        let (code, said) = order(agent, &["reload"]);
        assert!(code == Some(1) && said.contains(expected), "{expected}: {said}");
        assert!(said.contains("nothing was changed"), "{said}");
    }
    fs::remove_file(&path).unwrap();
    let (code, said) = order(agent, &["reload"]);
    assert!(code == Some(1) && said.contains("cannot read the configuration"), "{said}");
    let status = agent.status().unwrap();
    assert!(status["configuration"]["problems"][0].is_string(), "{status}");
    until_logged(agent, "the configuration was not reloaded");

    // A good one: some keys change, some need a restart.
    let changed = good
        .replace("priority = 100", "priority = 120")
        .replace("rejoin = \"manual\"", "rejoin = \"auto\"")
        .replace("agent_timeout = \"5000ms\"", "agent_timeout = \"6000ms\"");
    fs::write(&path, &changed).unwrap();
    let (code, said) = order(agent, &["reload"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said,
        "reloaded; changed: instance.priority (VI_1), instance.failover.rejoin (VI_1)\n\
         only a restart of the agent takes on: instance.liveness.agent_timeout (VI_1)\n"
    );
    let status = agent.status().unwrap();
    assert_eq!(status["configuration"]["problems"].as_array().unwrap().len(), 0, "{status}");
    let (_, page) = order(agent, &["status"]);
    assert!(page.contains("RESTART ") && page.contains("liveness.agent_timeout"), "{page}");

    // The same again, by signal, with another level of the log.
    fs::write(&path, good.replace("[node]\n", "[node]\nlog = \"debug\"\n")).unwrap();
    agent.signal(Signal::SIGHUP).unwrap();
    until_logged(agent, "changed: node.log");
    until_logged(agent, "DEBUG ");
    assert_eq!(agent.instance().unwrap()["term"], term, "nothing has moved");
    assert_eq!(agent.instance().unwrap()["gate"], "open");

    // During a failover, many at once.
    let second = &pair.nodes[1].agent;
    pair.nodes[0].host.power_off().unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let (code, said) = order(second, &["reload"]);
                    assert_eq!(code, Some(0), "{said}");
                }
            });
        }
    });
    pair.wait_until_serving(1).unwrap();
    until(second, "no problems", |status| {
        status["configuration"]["problems"].as_array().is_some_and(Vec::is_empty)
    });
}
