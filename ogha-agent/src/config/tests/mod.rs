//! The whole file: what is read, what is refused, and in which words.

mod accepted;
mod addresses;
mod arbiter;
mod docs;
mod strange;
mod values;
mod whole;

use std::{path::Path, time::Duration};

use super::*;

const GOOD: &str = r#"[node]
name = "db1"
[[instance]]
name = "VI_1"
interface = "eth0"
virtual_router_id = 59
virtual_addresses = ["192.168.1.10/32"]
[instance.vrrp]
version = 3
[[instance.peer]]
name = "db2"
address = "192.168.1.12"
[instance.liveness]
port = 26112
[instance.database]
kind = "opengauss"
data_dir = "/gauss/data/db1"
user = "omm"
[instance.failover]
max_lag = "0B"
[instance.arbiter]
kind = "none"
"#;

fn parse(text: &str) -> Result<Config, Errors> {
    Config::parse(text, Path::new("f"))
}

/// What is said of [`GOOD`] with one part replaced.
fn complaint(part: &str, replacement: &str) -> String {
    assert_eq!(GOOD.matches(part).count(), 1, "{part:?} must stand once in the good file");
    parse(&GOOD.replace(part, replacement))
        .map_or_else(|errors| errors.to_string(), |_| String::new())
}

#[track_caller]
fn refused(cases: &[(&str, &str, &str)]) {
    for (part, replacement, expected) in cases {
        assert_eq!(complaint(part, replacement), *expected, "{part:?} -> {replacement:?}");
    }
}
