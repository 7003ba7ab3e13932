//! The binary as its users meet it: exit codes, and what is said where. Needs no root.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use ogha_agent::control::{
    order::Accepted,
    protocol::{Request, Response},
    server::Server,
    view,
};
use tempfile::TempDir;

const GOOD: &str = r#"
[node]
name = "db1"
[[instance]]
name = "VI_1"
interface = "ogha-none"
virtual_router_id = 59
virtual_addresses = ["192.168.1.10/32"]
peer = [{ name = "db2", address = "192.168.1.12" }]
liveness.key_file = "/proc/no-key"
[instance.database]
kind = "postgresql"
data_dir = "/proc/no-such/data"
user = "nobody-here"
[instance.arbiter]
kind = "none"
"#;

fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ogha-agent"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs it; nothing may go to standard output.
#[track_caller]
fn fails(arguments: &[&str], code: i32) -> String {
    let output = agent(arguments);
    let said = text(&output.stderr).to_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    said
}

#[track_caller]
fn works(arguments: &[&str]) -> String {
    let output = agent(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    text(&output.stdout).to_owned()
}

struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    fn with(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ogha.toml");
        fs::write(&path, text).unwrap();
        Self { _directory: directory, path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

#[test]
fn bad_usage_is_code_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["status", "--jsn"],
        &["check", "--config"],
        &["load"],
        &["run", "extra"],
        &["switchover", "--timeout", "soon"],
        &["import-keepalived"],
    ] {
        let said = fails(arguments, 2);
        assert!(said.contains("--help") || said.contains("Usage: "), "{arguments:?}: {said}");
    }
}

#[test]
fn help_and_version_are_no_failure() {
    let help = works(&["--help"]);
    for command in [
        "run",
        "check",
        "status",
        "history",
        "switchover",
        "failover",
        "pause",
        "resume",
        "rejoin",
        "top",
        "doctor",
        "import-keepalived",
        "load",
        "unload",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    assert_eq!(works(&["--version"]), concat!("ogha-agent ", env!("CARGO_PKG_VERSION"), "\n"));
    for (command, default) in [
        ("run", "/etc/ogha/ogha.toml"),
        ("check", "/etc/ogha/ogha.toml"),
        ("status", "/run/ogha/agent.sock"),
        ("history", "/run/ogha/agent.sock"),
        ("load", "/sys/fs/bpf/ogha"),
        ("unload", "/sys/fs/bpf/ogha"),
    ] {
        let help = works(&[command, "--help"]);
        // Where the line breaks depends on the terminal.
        let words: Vec<_> = help.split_whitespace().collect();
        assert!(words.join(" ").contains(&format!("[default: {default}]")), "{help}");
    }
}

#[test]
fn a_bad_configuration_is_told_by_line_with_code_2() {
    let file = File::with(&GOOD.replace("_id = 59", "_id = 256").replace("user", "usr"));
    let name = file.name();
    let expected = format!(
        "{name}:7: instance.virtual_router_id: 256 is out of range; choose 1 to 255\n\
         {name}:11: instance.database.user: is missing; add user = \"omm\" to [instance.database]\n\
         {name}:14: instance.database.usr: unknown key; did you mean \"user\"?\n"
    );
    assert_eq!(fails(&["check", "--config", name], 2), expected);
    assert_eq!(fails(&["run", "--config", name], 2), expected);
}

#[test]
fn a_missing_configuration_is_told_with_code_2() {
    for command in ["check", "run"] {
        assert_eq!(
            fails(&[command, "--config", "/proc/no-such.toml"], 2),
            "/proc/no-such.toml: cannot read the configuration: No such file or directory (os \
             error 2); name it with --config FILE\n"
        );
    }
}

#[test]
fn what_the_host_lacks_is_told_with_code_2() {
    let file = File::with(GOOD);
    for command in ["check", "run"] {
        let said = fails(&[command, "--config", file.name()], 2);
        let lines: Vec<_> = said.lines().collect();
        let [interface, key, user, data_dir] = lines[..] else { panic!("{said}") };
        assert!(interface.contains("there is no network interface ogha-none"), "{said}");
        assert!(key.contains("cannot read the cluster's key /proc/no-key"), "{said}");
        assert!(user.contains("there is no user \"nobody-here\" on this host"), "{said}");
        assert!(data_dir.contains("missing data directory /proc/no-such/data"), "{said}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_told_with_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let bpf_dir = directory.path().join("bpf");
    let said =
        fails(&["load", "--interface", "ogha-none", "--bpf-dir", bpf_dir.to_str().unwrap()], 2);
    assert!(said.starts_with("ogha-agent: there is no network interface ogha-none; "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!bpf_dir.exists());
}

#[test]
fn unloading_nothing_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let bpf_dir = directory.path().join("bpf").to_str().unwrap().to_owned();
    assert_eq!(
        works(&["unload", "--bpf-dir", &bpf_dir]),
        format!("nothing is loaded in {bpf_dir}\n")
    );
}

#[test]
fn without_an_agent_code_1_and_what_to_do() {
    let commands = ["status", "history", "switchover", "pause", "resume", "rejoin"];
    for command in commands {
        for json in [&[][..], &["--json"]] {
            let arguments = [&[command, "--socket", "/proc/no-such.sock"], json].concat();
            assert_eq!(
                fails(&arguments, 1),
                "ogha-agent: no agent is answering at /proc/no-such.sock: is `ogha-agent run` \
                 running?\n"
            );
        }
    }
}

/// Answers requests with an instance that serves and a history of one failover.
fn serve(run_dir: &Path) -> String {
    let server = Server::bind(run_dir).unwrap();
    let socket = server.path().to_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(server.serve(|request| async move {
            match request {
                Request::Status => Response::Status(view::Status {
                    node: "db1".into(),
                    instances: vec![view::InstanceView {
                        name: "VI_1".into(),
                        phase: "serving".into(),
                        ..view::InstanceView::default()
                    }],
                    ..view::Status::default()
                }),
                Request::History => Response::error("the history cannot be read"),
                Request::Pause(about) => Response::Accepted(Accepted {
                    node: "db1".into(),
                    instance: about.instance.unwrap_or_else(|| "VI_1".into()),
                    to: None,
                    loses: None,
                }),
                order => Response::error(format!("refused: {order:?}")),
            }
        }));
    });
    socket
}

#[test]
fn an_agent_that_answers_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let socket = serve(directory.path());
    let page = works(&["status", "--socket", &socket]);
    assert!(page.starts_with("node db1\n\ninstance VI_1 (virtual router 0): serving, "), "{page}");
    let json = works(&["status", "--json", "--socket", &socket]);
    assert_eq!(json.lines().count(), 1);
    let status: view::Status = serde_json::from_str(&json).unwrap();
    assert_eq!(status.instances[0].phase, "serving");
    assert_eq!(
        fails(&["history", "--socket", &socket], 1),
        "ogha-agent: the history cannot be read\n"
    );
}

#[test]
fn an_order_is_accepted_or_refused_with_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let socket = serve(directory.path());
    let paused = works(&["pause", "--socket", &socket]);
    assert!(paused.starts_with("failovers are paused"), "{paused}");
    let json = works(&["pause", "--instance", "VI_1", "--json", "--socket", &socket]);
    let view: view::InstanceView = serde_json::from_str(&json).unwrap();
    assert_eq!(view.name, "VI_1");
    for arguments in [
        &["switchover", "--to", "db2"][..],
        &["failover", "--force"],
        &["resume"],
        &["rejoin", "--instance", "VI_2"],
    ] {
        let said = fails(&[arguments, &["--socket", &socket]].concat(), 1);
        assert!(said.starts_with("ogha-agent: refused: "), "{arguments:?}: {said}");
    }
    assert!(fails(&["switchover", "--to", "db2", "--socket", &socket], 1).contains("db2"));
}

#[test]
fn top_is_a_page_for_each_look() {
    let directory = tempfile::tempdir().unwrap();
    let socket = serve(directory.path());
    let pages = works(&["top", "--every", "10ms", "--count", "2", "--socket", &socket]);
    assert_eq!(pages.matches("node db1\n").count(), 2, "{pages}");
    assert_eq!(pages.matches("per second").count(), 1, "{pages}");
}

#[test]
fn a_failover_is_not_ordered_by_mistake() {
    let said = fails(&["failover", "--socket", "/proc/no-such.sock"], 2);
    assert!(said.contains("may be lost") && said.contains("switchover"), "{said}");
}

#[test]
fn doctor_names_what_fails_with_code_1() {
    let file = File::with(GOOD);
    let output = agent(&["doctor", "--config", file.name()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let page = text(&output.stdout);
    for words in ["there is no network interface ogha-none", "/proc/no-key", "arbiter none"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let json = agent(&["doctor", "--json", "--config", file.name()]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert!(findings.iter().any(|finding| finding["level"] == "fail"), "{findings:?}");
    assert!(fails(&["doctor", "--config", "/proc/no-such.toml"], 2).contains("cannot read"));
}

#[test]
fn a_keepalived_configuration_is_imported() {
    let file = File::with(
        "vrrp_instance VI_1 {\n interface eth0\n virtual_router_id 59\n\
         virtual_ipaddress { 192.168.1.10 }\n}\n",
    );
    let written = works(&["import-keepalived", file.name()]);
    assert!(written.contains("virtual_addresses = [\"192.168.1.10/32\"]"), "{written}");
    let blank = File::with(&written);
    let refused = fails(&["check", "--config", blank.name()], 2);
    assert!(refused.contains("FILL IN"), "{refused}");
    let bad = File::with("vrrp_instance VI_1 {\n virtual_router_id 0\n}\n");
    let said = fails(&["import-keepalived", bad.name()], 2);
    assert!(said.contains(": line 2: virtual_router_id 0 is not a number"), "{said}");
}

#[test]
fn a_bad_log_filter_is_told_with_code_2() {
    let said = fails(&["run", "--config", "/proc/no-such.toml", "--log", "a=b=c"], 2);
    assert!(said.starts_with("ogha-agent: --log: \"a=b=c\" is no log filter ("), "{said}");
}
