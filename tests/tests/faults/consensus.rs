//! A pair whose record is in etcd, and an etcd that says what makes no sense.

use std::{net::Ipv4Addr, sync::Arc, thread};

use etcd_client::Client;
use ogha_tests::lab::{Etcd, Host, Pair};
use serde_json::{Value, json};

use crate::stage::{Undisturbed, seconds, settings};

const ARBITER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
/// Where the record of the instance is.
const KEY: &str = "/ogha/VI_1-59";
const LINES: usize = 50;

/// A pair that serves, with an etcd.
pub struct Arbitrated {
    pub etcd: Etcd,
    pub host: Arc<Host>,
    pub pair: Pair,
}

impl Arbitrated {
    pub fn start(name: &str) -> Self {
        let pair = Pair::without_agents(name, &settings()).unwrap();
        let host = pair.lab.host("etcd", &pair.switch, ARBITER).unwrap();
        let etcd = Etcd::start(&[Arc::clone(&host)]).unwrap();
        let keys = format!("kind = \"etcd\"\nendpoints = {:?}", etcd.endpoints());
        for node in &pair.nodes {
            node.agent.edit_config("kind = \"none\"", &keys).unwrap();
        }
        pair.start_agents().unwrap();
        Self { etcd, host, pair }
    }

    fn on<T: Send>(&self, work: impl AsyncFnOnce(Client) -> T + Send) -> T {
        let endpoints = self.etcd.endpoints();
        self.host.namespace().enter(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(async { work(Client::connect(endpoints, None).await.unwrap()).await })
        })
    }

    fn read(&self) -> String {
        self.on(async |mut client| {
            let answer = client.get(KEY, None).await.unwrap();
            answer.kvs()[0].value_str().unwrap().to_owned()
        })
    }

    fn write(&self, value: &str) {
        let value = value.to_owned();
        self.on(async move |mut client| client.put(KEY, value, None).await.map(drop)).unwrap();
    }
}

/// The store holds something else than the nodes have written, for some seconds. The node that serves goes
/// on, for the other still grants it its lease; both log a few lines, and the history tells a few. When
/// the record is back, so is everything.
fn holds_nonsense(name: &str, make: impl Fn(&str) -> String) {
    let stage = Arbitrated::start(name);
    let pair = &stage.pair;
    let before = Undisturbed::now(pair);
    let told = |node: usize| {
        let agent = &pair.nodes[node].agent;
        (agent.log().lines().count(), agent.history().unwrap().to_string().len())
    };
    let quiet = [told(0), told(1)];
    let record = stage.read();
    stage.write(&make(&record));
    thread::sleep(seconds(6));
    let loud = [told(0), told(1)];
    stage.write(&record);
    for node in 0..2 {
        let lines = loud[node].0 - quiet[node].0;
        let last = pair.nodes[node].host.last_words("agent");
        assert!(lines < LINES, "{lines} lines in 6 s\n{last}");
        let grown = loud[node].1 - quiet[node].1;
        assert!(grown < 1000, "the history has grown by {grown} octets\n{last}");
    }
    before.assert(pair);
    // What needs the store works again: a standby that leaves, and comes back.
    let [_, second] = &pair.nodes;
    second.database.stop().unwrap();
    pair.writer().wait_for(5, seconds(60)).unwrap();
    second.database.start().unwrap();
    pair.wait_until_in_sync(0).unwrap();
}

fn edited(record: &str, edit: impl Fn(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(record).unwrap();
    edit(&mut value);
    value.to_string()
}

/// Somebody's text.
#[test]
fn a_store_with_a_strangers_text_moves_nothing() {
    holds_nonsense("nonsense-text", |_| "somebody's".to_owned());
}

/// The highest term that there is: no term could follow it.
#[test]
fn a_store_with_the_last_term_moves_nothing() {
    holds_nonsense("nonsense-term", |record| {
        edited(record, |value| value["term"] = json!(u64::MAX))
    });
}

/// The next term, for a node that is none of this instance.
#[test]
fn a_store_that_names_a_stranger_moves_nothing() {
    holds_nonsense("nonsense-node", |record| {
        edited(record, |value| {
            let id = ogha_common::units::NodeId::of("db9").to_string();
            value["term"] = json!(value["term"].as_u64().unwrap() + 1);
            value["primary"] = json!({"name": "db9", "id": id});
            value["in_sync"] = json!([value["primary"]]);
        })
    });
}
