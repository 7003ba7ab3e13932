//! A pair whose record is in etcd, and an etcd that says what makes no sense.

use std::{net::Ipv4Addr, sync::Arc, thread};

use etcd_client::Client;
use ogha_tests::lab::{Etcd, Host, Pair};
use serde_json::{Value, json};

use crate::stage::{seconds, settings, throughout};

const ARBITER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
/// Where the record of the instance is.
const KEY: &str = "/ogha/VI_1-59";
const LINES: usize = 50;
/// A failover that is told in full has less.
const OCTETS: usize = 4000;

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

    /// Does something while the store holds what `make` makes of the record.
    fn is_quiet_with(&self, make: impl Fn(&str) -> String, work: impl FnOnce()) {
        let told = || {
            self.pair.nodes.each_ref().map(|node| {
                let history = node.agent.history().unwrap().to_string();
                (node.agent.log().lines().count(), history.len())
            })
        };
        let quiet = told();
        let record = self.read();
        self.write(&make(&record));
        work();
        let loud = told();
        self.write(&record);
        for (node, (loud, quiet)) in self.pair.nodes.iter().zip(loud.into_iter().zip(quiet)) {
            let (lines, octets) = (loud.0 - quiet.0, loud.1 - quiet.1);
            let last = node.host.last_words("agent");
            assert!(lines < LINES, "{lines} lines, {octets} octets of history in 6 s\n{last}");
            assert!(octets < OCTETS, "the history has grown by {octets} octets\n{last}");
        }
    }

    fn write(&self, value: &str) {
        let value = value.to_owned();
        self.on(async move |mut client| client.put(KEY, value, None).await.map(drop)).unwrap();
    }
}

/// The store holds something else than the nodes have written. The standby's database stops, so that the
/// primary asks for a record without it: it gets none, and goes on, for the other still grants it its
/// lease. With the record back it gets one, and clients can write. Then the store holds nonsense once more,
/// and the primary's database is killed: the standby may not take over before the record is back, and then
/// does. Meanwhile both log a few lines, and the history tells a few.
fn holds_nonsense(name: &str, make: impl Fn(&str) -> String) {
    let stage = Arbitrated::start(name);
    let pair = &stage.pair;
    let [first, second] = &pair.nodes;
    let main = first.database.main_pid().unwrap();
    stage.is_quiet_with(&make, || {
        second.database.stop().unwrap();
        throughout(seconds(6), || {
            let now = first.agent.instance().unwrap();
            assert_eq!(now["phase"], "serving", "{now}\n{}", first.host.last_words("agent"));
        });
    });
    pair.writer().wait_for(5, seconds(60)).unwrap();
    assert_eq!(first.database.main_pid().unwrap(), main);
    second.database.start().unwrap();
    pair.wait_until_in_sync(0).unwrap();
    stage.is_quiet_with(&make, || {
        first.database.kill().unwrap();
        thread::sleep(seconds(6));
    });
    pair.wait_until_serving(1).unwrap();
}

fn edited(record: &str, edit: impl Fn(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(record).unwrap();
    edit(&mut value);
    value.to_string()
}

/// Somebody's text.
#[test]
fn a_store_with_a_strangers_text_is_borne() {
    holds_nonsense("nonsense-text", |_| "somebody's".to_owned());
}

/// The highest term that there is: no term could follow it.
#[test]
fn a_store_with_the_last_term_is_borne() {
    holds_nonsense("nonsense-term", |record| {
        edited(record, |value| value["term"] = json!(u64::MAX))
    });
}

/// The next term, for a node that is none of this instance.
#[test]
fn a_store_that_names_a_stranger_is_borne() {
    holds_nonsense("nonsense-node", |record| {
        edited(record, |value| {
            let id = ogha_common::units::NodeId::of("db9").to_string();
            value["term"] = json!(value["term"].as_u64().unwrap() + 1);
            value["primary"] = json!({"name": "db9", "id": id});
            value["in_sync"] = json!([value["primary"]]);
        })
    });
}
