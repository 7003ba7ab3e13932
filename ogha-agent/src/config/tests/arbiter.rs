//! `[instance.arbiter]`, `[instance.failover]` and `[instance.hooks]`.

use super::*;

/// What is read where the good file has `kind = "none"`.
fn arbiter(text: &str) -> Result<Arbiter, String> {
    let text = GOOD.replace("kind = \"none\"", text);
    parse(&text).map(|config| config.instances[0].arbiter.clone()).map_err(|errors| {
        let all = errors.problems().iter().map(|problem| {
            let key = problem.key.strip_prefix("instance.arbiter.").unwrap_or(&problem.key);
            format!("{key}: {}", problem.what)
        });
        all.collect::<Vec<_>>().join("\n")
    })
}

#[track_caller]
fn says(text: &str, expected: &str) {
    assert_eq!(arbiter(text).unwrap_err(), expected, "{text}");
}

#[test]
fn gateways_are_addresses_of_somebody_else() {
    let read = arbiter("kind = \"gateway\"\naddresses = [\"192.168.1.1\", \"fd00::1\"]").unwrap();
    let addresses = ["192.168.1.1", "fd00::1"].map(|text| text.parse().unwrap());
    assert_eq!(read, Arbiter::Gateway(Gateway { addresses: addresses.into() }));
    assert_eq!(read.name(), "gateway");
    let with = |list: &str| format!("kind = \"gateway\"\naddresses = {list}");
    says(
        "kind = \"gateway\"",
        "addresses: is missing; add addresses = [\"192.168.1.1\"] to [instance.arbiter]",
    );
    says(&with("[]"), "addresses: is empty; write for example [\"192.168.1.1\"]");
    says(
        &with("[\"gw\"]"),
        "addresses: \"gw\" is no address; write one such as 192.168.1.10 or fd00::10",
    );
    says(
        &with("[\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.1\"]"),
        "addresses: 10.0.0.1 stands twice; remove one",
    );
    let elsewhere = "name what answers whoever of the nodes is dead";
    says(
        &with("[\"192.168.1.10\", \"192.168.1.12\"]"),
        &format!(
            "addresses: 192.168.1.10 is a virtual address; {elsewhere}\n\
             addresses: 192.168.1.12 is the address of the peer \"db2\"; {elsewhere}"
        ),
    );
    let nine: Vec<_> = (1..=9).map(|i| format!("\"10.0.0.{i}\"")).collect();
    says(
        &with(&format!("[{}]", nine.join(", "))),
        "addresses: there are 9, more than 8; remove some",
    );
    arbiter(&with(&format!("[{}]", nine[1..].join(", ")))).unwrap();
}

#[test]
fn this_nodes_own_address_is_no_gateway() {
    let text = GOOD.replace("name = \"VI_1\"", "name = \"VI_1\"\naddress = \"192.168.1.11\"");
    let gateway = "kind = \"gateway\"\naddresses = [\"192.168.1.11\"]";
    assert_eq!(
        parse(&text.replace("kind = \"none\"", gateway)).unwrap_err().to_string(),
        "f:24: instance.arbiter.addresses: 192.168.1.11 is this node's own address; name what \
         answers whoever of the nodes is dead"
    );
}

#[test]
fn etcd_is_read_with_all_its_keys() {
    let text = r#"kind = "etcd"
endpoints = ["https://10.0.0.1:2379", "https://[fd00::1]:2379/", "https://etcd-3.lan:12379"]
ca_file = "/etc/ogha/etcd-ca.pem"
cert_file = "/etc/ogha/etcd.pem"
key_file = "/etc/ogha/etcd-key.pem"
username = "ogha"
password_file = "/etc/ogha/etcd-password"
prefix = "/databases/"
"#;
    let endpoints = ["https://10.0.0.1:2379", "https://[fd00::1]:2379", "https://etcd-3.lan:12379"];
    let etcd = Etcd {
        endpoints: endpoints.map(str::to_owned).into(),
        tls: Some(Tls {
            ca_file: "/etc/ogha/etcd-ca.pem".into(),
            identity: Some(("/etc/ogha/etcd.pem".into(), "/etc/ogha/etcd-key.pem".into())),
        }),
        login: Some(Login {
            username: "ogha".to_owned(),
            password_file: "/etc/ogha/etcd-password".into(),
        }),
        prefix: "/databases/".to_owned(),
    };
    assert_eq!(arbiter(text).unwrap(), Arbiter::Etcd(etcd));
    let least = arbiter("kind = \"etcd\"\nendpoints = [\"http://10.0.0.1:2379\"]").unwrap();
    let Arbiter::Etcd(least) = least else { panic!("{least:?}") };
    assert_eq!((least.tls, least.login, least.prefix.as_str()), (None, None, "/ogha/"));
}

#[test]
fn an_endpoint_is_a_url_of_a_host_and_a_port() {
    for wrong in [
        "10.0.0.1:2379",
        "https://10.0.0.1",
        "https://10.0.0.1:0",
        "https://10.0.0.1:99999",
        "https://:2379",
        "https://user@10.0.0.1:2379",
        "https://10.0.0.1:2379/v3",
        "https://fd00::1:2379",
        "ftp://10.0.0.1:2379",
    ] {
        says(
            &format!("kind = \"etcd\"\nendpoints = [\"{wrong}\"]"),
            &format!(
                "endpoints: \"{wrong}\" is no endpoint; write one such as \
                 \"https://10.0.0.1:2379\""
            ),
        );
    }
}

#[test]
fn the_keys_of_etcd_fit_each_other() {
    let https = "kind = \"etcd\"\nendpoints = [\"https://10.0.0.1:2379\"]\n";
    let http = https.replace("https", "http");
    says(
        https,
        "ca_file: is missing, and the endpoints are https; name the file with the certificate of \
         who signed the members' certificates",
    );
    says(
        &format!("{https}ca_file = \"/ca\"\ncert_file = \"/cert\""),
        "cert_file: needs key_file beside it; add it",
    );
    says(
        &format!("{http}password_file = \"/secret\""),
        "password_file: needs username beside it; add it",
    );
    says(
        &format!("{http}ca_file = \"/ca\""),
        "ca_file: means nothing where the endpoints are http; write https",
    );
    says(
        "kind = \"etcd\"\nendpoints = [\"https://10.0.0.1:2379\", \"http://10.0.0.2:2379\"]",
        "endpoints: http://10.0.0.2:2379 is no https as the first is; write all alike",
    );
    says(
        "kind = \"etcd\"\nendpoints = [\"http://192.168.1.10:2379\"]",
        "endpoints: http://192.168.1.10:2379 is at a virtual address; name each member's own",
    );
    says(
        &format!("{http}prefix = \"a b\""),
        "prefix: \"a b\" is no prefix; use at most 256 octets, none of them blank",
    );
}

#[test]
fn a_key_of_another_kind_is_not_ignored() {
    for (text, owner, kind) in [
        ("kind = \"none\"\nendpoints = []", "etcd", "none"),
        ("kind = \"none\"\naddresses = []", "gateway", "none"),
        ("kind = \"gateway\"\nprefix = \"/\"\naddresses = [\"10.0.0.1\"]", "etcd", "gateway"),
    ] {
        let error = arbiter(text).unwrap_err();
        let expected =
            format!("belongs to kind = \"{owner}\" and means nothing with \"{kind}\"; remove it");
        assert!(error.ends_with(&expected), "{text}: {error}");
    }
    says("kind = \"etdc\"", "kind: \"etdc\" is unknown; did you mean \"etcd\"?");
}

#[test]
fn what_a_failover_may_do_is_chosen() {
    let with = |text: &str| GOOD.replace("max_lag = \"0B\"", text);
    let text = "max_lag = \"1MB\"\nsynchronous = false\nrejoin = \"auto\"\nrestart_attempts = 10\n\
                switchover_timeout = \"5s\"\nclosed_gate = \"reject\"";
    let failover = Failover {
        max_lag: 1 << 20,
        synchronous: false,
        rejoin: Rejoin::Auto,
        restart_attempts: 10,
        switchover_timeout: Duration::from_secs(5),
        closed_gate: ClosedGate::Reject,
    };
    assert_eq!(parse(&with(text)).unwrap().instances[0].failover, failover);
    assert_eq!(failover.tolerance(), Some(1 << 20));
    assert_eq!(parse(GOOD).unwrap().instances[0].failover.tolerance(), None);
    refused(&[
        (
            "max_lag = \"0B\"",
            "max_lag = \"1B\"",
            "f:20: instance.failover.max_lag: means nothing where commits wait for the standby, \
             which then has them all; set synchronous = false, or remove it",
        ),
        (
            "max_lag = \"0B\"",
            "synchronous = \"yes\"",
            "f:20: instance.failover.synchronous: must be true or false, not a string; write for \
             example true",
        ),
        (
            "max_lag = \"0B\"",
            "rejoin = \"never\"",
            "f:20: instance.failover.rejoin: \"never\" is unknown; choose \"manual\" or \"auto\"",
        ),
        (
            "max_lag = \"0B\"",
            "restart_attempts = 11",
            "f:20: instance.failover.restart_attempts: 11 is out of range; choose 0 to 10",
        ),
        (
            "max_lag = \"0B\"",
            "switchover_timeout = \"10ms\"",
            "f:20: instance.failover.switchover_timeout: \"10ms\" is out of range; choose 1s to 1h",
        ),
    ]);
}

#[test]
fn a_hook_is_a_program_with_a_deadline() {
    let hooks = "kind = \"none\"\n[instance.hooks]\n";
    let with = |text: &str| parse(&GOOD.replace("kind = \"none\"\n", &format!("{hooks}{text}\n")));
    let read = with("command = \"/usr/local/bin/told\"\ntimeout = \"2min\"").unwrap();
    let expected =
        Hooks { command: Some("/usr/local/bin/told".into()), timeout: Duration::from_secs(120) };
    assert_eq!(read.instances[0].hooks, expected);
    for (text, what) in [
        (
            "command = \"told\"",
            "command: \"told\" is a relative path; write the whole path, from /",
        ),
        ("timeout = \"0s\"", "timeout: \"0s\" is out of range; choose 100ms to 1h"),
        ("comand = \"/x\"", "comand: unknown key; did you mean \"command\"?"),
    ] {
        let said = with(text).unwrap_err().to_string();
        assert_eq!(said, format!("f:24: instance.hooks.{what}"));
    }
}
