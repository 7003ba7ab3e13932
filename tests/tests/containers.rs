//! Agents and databases in containers: process ids count in PID namespaces, and the kernel's
//! tracepoints see all of them.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use ogha_tests::{
    demo::steps,
    lab::{
        Agent, Host, Pair, Postgres,
        agent::{Kind, Settings, binary},
        clock,
        pair::GENEROUS,
        postgres::BIN,
        process::Process,
        sql::Session,
    },
};
use serde_json::Value;

const OFTEN: Duration = Duration::from_millis(10);
/// How many processes of the host exit under the database's number.
const STRANGERS: u32 = 300;

/// A PID namespace on a host, with a `/proc` of its own. Whatever runs there dies with it.
struct Container {
    host: Arc<Host>,
    /// Its first process, as this test's namespace counts.
    init: u32,
    _holder: Process,
}

impl Container {
    fn start(host: &Arc<Host>) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]);
        let holder = host.spawn("container", unshare, None).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", holder.pid());
        let init = clock::wait_until("the container", GENEROUS, OFTEN, || {
            let child = fs::read_to_string(&children)?.split_whitespace().next().map(str::parse);
            Ok(child.transpose()?)
        });
        let container = Self { host: Arc::clone(host), init: init.unwrap(), _holder: holder };
        clock::wait_until("its /proc", GENEROUS, OFTEN, || {
            let seen = container.output("readlink /proc/self");
            Ok((seen.trim().parse::<u32>().unwrap_or(u32::MAX) < 1000).then_some(()))
        })
        .unwrap();
        container
    }

    /// A command that runs inside, as root or as that user.
    fn command(&self, user: Option<&str>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.init.to_string()).args(["--pid", "--mount"]);
        if let Some(user) = user {
            command.args(["setpriv", "--reuid", user, "--regid", user, "--init-groups"]);
        }
        command
    }

    fn output(&self, script: &str) -> String {
        let mut command = self.command(None);
        command.args(["sh", "-c", script]);
        String::from_utf8(self.host.output(command, None).unwrap().stdout).unwrap()
    }

    /// Starts the server inside, under a number that no process of the host has, and returns it.
    fn start_database(&self, database: &Postgres) -> u32 {
        let free = free_number();
        let last = free - 1;
        self.output(&format!("echo {last} >/proc/sys/kernel/ns_last_pid"));
        let mut command = self.command(Some("postgres"));
        command.arg(Path::new(BIN).join("postgres")).arg("-D").arg(database.data_dir());
        // It lives as long as the container.
        std::mem::forget(self.host.spawn("postgres", command, None).unwrap());
        clock::wait_until("the database to answer", GENEROUS, OFTEN, || {
            Ok(Some(Session::open(&database.socket_dir(), 26000)?))
        })
        .unwrap();
        let pid = u32::try_from(database.main_pid().unwrap()).unwrap();
        assert!(pid >= free, "{pid} {free}");
        pid
    }

    fn start_agent(&self, agent: &Agent) {
        let mut command = self.command(None);
        command.arg(binary().unwrap()).arg("run").arg("--config").arg(agent.config_path());
        command.env_remove("JOURNAL_STREAM");
        agent.start_by(command).unwrap();
    }

    fn kill(&self, pid: u32) {
        self.output(&format!("kill -9 {pid}"));
    }
}

/// A number that no process of this test's namespace has, and that is dealt out again only when all
/// others have been.
fn free_number() -> u32 {
    let last = fs::read_to_string("/proc/sys/kernel/ns_last_pid").unwrap();
    let most = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let (last, most): (u32, u32) = (last.trim().parse().unwrap(), most.trim().parse().unwrap());
    // Not those of this test's neighbours, who choose in the same way.
    let begin = if last > 3000 { last - 1000 - std::process::id() % 500 } else { most - 1000 };
    let is_free = |number: &u32| !Path::new(&format!("/proc/{number}")).exists();
    (1000..begin).rev().step_by(3).find(is_free).unwrap()
}

/// A process of this test's namespace gets that number and exits. If another has it just now, then
/// that one exits in its stead.
fn exit_as(number: u32) {
    /// `struct clone_args`, as far as `set_tid_size`.
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
    }
    let number = libc::pid_t::try_from(number).unwrap();
    let arguments = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: (&raw const number) as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    // SAFETY: the child has a copy of all memory and ends at once; the arguments outlive the call.
    let child = unsafe {
        let child = libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>());
        if child == 0 {
            libc::_exit(0);
        }
        child
    };
    let error = std::io::Error::last_os_error();
    if child < 0 && error.raw_os_error() == Some(libc::EEXIST) {
        return std::thread::sleep(OFTEN);
    }
    assert_eq!(child, i64::from(number), "{error}");
    // SAFETY: the child is this process's own, and its status is not asked for.
    let waited = unsafe { libc::waitpid(number, std::ptr::null_mut(), 0) };
    assert_eq!(waited, number);
}

/// The last timeline of a history.
fn last(history: &Value) -> Value {
    history["failovers"].as_array().unwrap().last().unwrap().clone()
}

/// Strangers exit under the database's number and change nothing; then the database is killed, and
/// the kernel's event is what its agent hears first.
fn only_the_databases_own_end_counts(pair: &Pair, container: &Container, number: u32) {
    let agent = &pair.nodes[0].agent;
    let before = (agent.instance().unwrap()["term"].clone(), agent.history().unwrap());
    for _ in 0..STRANGERS {
        exit_as(number);
    }
    // Longer than an observation and its outcome need.
    std::thread::sleep(Duration::from_millis(500));
    let instance = agent.instance().unwrap();
    assert_eq!((&instance["phase"], &instance["gate"]), (&"serving".into(), &"open".into()));
    assert_eq!(before, (instance["term"].clone(), agent.history().unwrap()));

    let begun = Instant::now();
    container.kill(number);
    pair.wait_until_serving(1).unwrap();
    println!("serving on the other node after {:?}", begun.elapsed());
    let timeline = last(&agent.history().unwrap());
    assert_eq!(timeline["cause"], "the database's process exited", "{timeline}");
    let names: Vec<_> =
        steps(&agent.history().unwrap()).iter().map(|step| step["step"].clone()).collect();
    assert!(names.contains(&"gate closed".into()), "{timeline}");
}

fn pair(name: &str) -> Pair {
    let pair = Pair::without_agents(name, &Settings::patient(Kind::Postgresql)).unwrap();
    pair.nodes[0].database.stop().unwrap();
    pair
}

fn begin(pair: &Pair, start_first: impl FnOnce(&Agent)) {
    start_first(&pair.nodes[0].agent);
    pair.nodes[1].agent.start().unwrap();
    let begun = pair.wait_until_serving(0).and_then(|_| pair.wait_until_in_sync(0));
    begun.unwrap_or_else(|error| panic!("{error:#}\n{}", pair.agents_last_words()));
}

/// Agent and database share a container, as in a pod.
#[test]
fn numbers_of_the_host_mean_nothing_in_a_container() {
    let pair = pair("pidns-both");
    let container = Container::start(&pair.nodes[0].host);
    let number = container.start_database(&pair.nodes[0].database);
    begin(&pair, |agent| container.start_agent(agent));
    only_the_databases_own_end_counts(&pair, &container, number);
}

/// The agent is on the host, the database in a container: its number in its own pid file is
/// another process's for the agent.
#[test]
fn a_database_in_a_container_below_the_agent() {
    let pair = pair("pidns-below");
    let container = Container::start(&pair.nodes[0].host);
    let number = container.start_database(&pair.nodes[0].database);
    begin(&pair, |agent| agent.start().unwrap());
    only_the_databases_own_end_counts(&pair, &container, number);
}
