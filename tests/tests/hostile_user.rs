//! The database's user is an enemy, and owns the data directory: each file that ogha touches is a
//! link to a file of root, a FIFO, a directory, a huge file, or another user's. Nothing outside is
//! touched, nobody waits, and a healthy database keeps serving.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    fs::{self, File, Permissions},
    net::IpAddr,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::User};
use ogha_agent::database::{
    self, Database, DatabaseKind, Nodes, Peer, Process, Role, Server, Step,
};
use ogha_tests::lab::{
    Postgres,
    pair::{Databases, FIRST, SECOND},
    postgres::{BIN, PORT},
};
use tokio::runtime::{Builder, Runtime};

const NOBODY: u32 = 65534;
/// What touches a file takes milliseconds; who waits for a FIFO waits for ever.
const LONG: Duration = Duration::from_secs(20);

const TRAPS: [&str; 5] = ["link", "FIFO", "directory", "huge", "foreign"];

/// A file of root's that nobody else may read, as it was.
struct Victim {
    path: PathBuf,
    before: (u32, u32, i64, i64),
}

impl Victim {
    fn new(above: &Path) -> Self {
        let path = above.join("victim");
        fs::write(&path, "root's").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let before = Self::look(&path);
        Self { path, before }
    }

    fn look(path: &Path) -> (u32, u32, i64, i64) {
        let meta = fs::metadata(path).unwrap();
        (meta.uid(), meta.mode(), meta.mtime_nsec(), meta.ctime_nsec())
    }

    fn is_untouched(&self) -> bool {
        fs::read(&self.path).unwrap() == b"root's" && Self::look(&self.path) == self.before
    }
}

fn user() -> User {
    User::from_name("postgres").unwrap().unwrap()
}

fn give(path: &Path) {
    let user = user();
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
}

fn remove(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}

/// Puts it in the place of a file.
fn set(trap: &str, path: &Path, victim: &Victim) {
    remove(path);
    match trap {
        "link" => symlink(&victim.path, path).unwrap(),
        "FIFO" => {
            nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
            give(path);
        }
        "directory" => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("within"), "").unwrap();
            give(path);
        }
        "huge" => {
            File::create(path).unwrap().set_len(1 << 42).unwrap();
            give(path);
        }
        _ => {
            fs::write(path, "1\n/elsewhere\n").unwrap();
            chown(path, Some(NOBODY), None).unwrap();
        }
    }
}

fn open(runtime: &Runtime, database: &Postgres, peer: (&str, IpAddr)) -> Arc<dyn Database> {
    open_at(runtime, database, database.socket_dir(), peer)
}

fn open_at(
    runtime: &Runtime,
    database: &Postgres,
    socket_dir: PathBuf,
    peer: (&str, IpAddr),
) -> Arc<dyn Database> {
    let server = Server {
        port: PORT,
        data_dir: database.data_dir(),
        user: "postgres".to_owned(),
        bin_dir: Some(BIN.into()),
        socket_dir: Some(socket_dir),
        dbname: "postgres".to_owned(),
        unit: None,
    };
    let peer = Peer { name: peer.0.to_owned(), addresses: vec![peer.1], port: PORT };
    let nodes = Nodes { own: "own".to_owned(), peers: vec![peer] };
    let opened = runtime.block_on(database::open(&DatabaseKind::Postgresql(server), nodes));
    opened.unwrap()
}

fn in_time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    assert!(begun.elapsed() < LONG, "{what} took {:?}", begun.elapsed());
    done
}

/// What is read while the server runs, and what is written to fence it.
#[test]
fn a_trap_in_the_place_of_any_file_touches_nothing_and_holds_nobody_up() {
    let databases = Databases::start("traps").unwrap();
    let runtime = Runtime::new().unwrap();
    let primary = open(&runtime, &databases.primary, ("second", SECOND.into()));
    let data = databases.primary.data_dir();
    let victim = Victim::new(data.parent().unwrap());
    let names = [
        "postmaster.pid",
        "postmaster.opts",
        "standby.signal",
        "standby.signal.ogha-temp",
        "ogha-start.log",
        "promote",
    ];
    for (name, trap) in names.iter().flat_map(|name| TRAPS.map(|trap| (*name, trap))) {
        let (path, kept) = (data.join(name), data.join("kept-aside"));
        let what = format!("{name} is a trap: {trap}");
        let was_there = fs::rename(&path, &kept).is_ok();
        set(trap, &path, &victim);
        let seen = in_time(&what, || runtime.block_on(primary.observe()));
        assert_eq!(seen.role, Role::Primary, "{what}: {:?}", seen.error);
        assert_ne!(seen.process, Process::Gone, "{what}");
        let disarmed = in_time(&what, || runtime.block_on(primary.perform(Step::Disarm)));
        if let Err(error) = disarmed {
            let error = format!("{error:#}");
            assert!(error.contains("remove it"), "{what}: {error}");
        } else {
            assert!(data.join("standby.signal").exists(), "{what}");
        }
        assert!(victim.is_untouched(), "{what}");
        remove(&path);
        remove(&data.join("standby.signal"));
        if was_there {
            fs::rename(&kept, &path).unwrap();
        }
    }
    assert!(!databases.primary.is_in_recovery().unwrap());
}

/// The journal of a rejoin, its directory, and what beside the data directory has a name of ogha's.
#[test]
fn a_trap_in_the_place_of_the_journal_stops_the_rejoin_and_nothing_else() {
    let databases = Databases::start("journals").unwrap();
    let runtime = Runtime::new().unwrap();
    let standby = open(&runtime, &databases.standby, ("first", FIRST.into()));
    let data = databases.standby.data_dir();
    let victim = Victim::new(data.parent().unwrap());
    let beside = data.with_file_name("data.ogha-rejoin");
    for trap in TRAPS {
        let journal = beside.join("journal.json");
        fs::create_dir(&beside).unwrap();
        give(&beside);
        set(trap, &journal, &victim);
        let rejoin = || runtime.block_on(standby.perform(Step::Rejoin("first".to_owned())));
        let error = format!("{:#}", in_time(trap, rejoin).unwrap_err());
        assert!(error.contains("journal.json"), "{trap}: {error}");
        assert!(victim.is_untouched(), "{trap}");
        fs::remove_dir_all(&beside).unwrap();
    }
    // All of it elsewhere, in a directory of root's.
    let secret = data.with_file_name("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("journal.json"), "{}").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o700)).unwrap();
    symlink(&secret, &beside).unwrap();
    let rejoin = runtime.block_on(standby.perform(Step::Rejoin("first".to_owned())));
    assert!(rejoin.is_err());
    assert_eq!(fs::read(secret.join("journal.json")).unwrap(), b"{}");
    assert!(databases.standby.is_in_recovery().unwrap());
    databases.primary.wait_for_standby(databases.standby.host().name()).unwrap();
}

/// Another user listens where the socket should be: that is no database, and no sign of life.
#[test]
fn a_stranger_at_the_socket_is_not_the_database() {
    let databases = Databases::start("stranger").unwrap();
    let runtime = Runtime::new().unwrap();
    let elsewhere = databases.primary.data_dir().with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let primary =
        open_at(&runtime, &databases.primary, elsewhere.clone(), ("second", SECOND.into()));
    let path = elsewhere.join(format!(".s.PGSQL.{PORT}"));
    // The kernel notes who calls listen(2), which is this thread.
    let listener = std::thread::spawn({
        let path = path.clone();
        move || {
            let listener = UnixListener::bind(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
            // SAFETY: three integers; the thread alone changes, and ends.
            unsafe { libc::syscall(libc::SYS_setresuid, -1, NOBODY, -1) };
            nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(8).unwrap())
                .unwrap();
            listener
        }
    });
    let _listener = listener.join().unwrap();
    let seen = in_time("a stranger", || runtime.block_on(primary.observe()));
    assert_eq!(seen.role, Role::Unknown);
    let error = seen.error.unwrap();
    assert!(error.contains("user 65534 listens"), "{error}");
    assert!(matches!(seen.process, Process::Running(_)), "the pid file names the real one");
}

/// A view of the same name as the server's own, before it in everybody's search path.
#[test]
fn names_of_another_schema_are_not_asked() {
    let databases = Databases::start("shadow").unwrap();
    let runtime = Runtime::new().unwrap();
    let session = databases.primary.session().unwrap();
    for statement in [
        "create view public.pg_stat_activity as \
         select -1 as pid, 'startup'::text as backend_type, 'x'::text as wait_event",
        "create function public.pg_is_in_recovery() returns boolean language sql as 'select true'",
        "create function public.equal(name, text) returns boolean language sql as 'select false'",
        "create operator public.= (leftarg = name, rightarg = text, function = public.equal)",
        "alter role postgres set search_path = public, pg_catalog",
    ] {
        session.rows(statement).unwrap();
    }
    let primary = open(&runtime, &databases.primary, ("second", SECOND.into()));
    let seen = runtime.block_on(primary.observe());
    assert_eq!(seen.role, Role::Primary, "{:?}", seen.error);
    assert!(seen.replication.iter().any(|peer| peer.streaming), "{:?}", seen.replication);
    runtime.block_on(primary.perform(Step::Synchronize(vec!["second".to_owned()]))).unwrap();
}

/// Root in a container may not ask where a process works: only the server's own processes are
/// stopped all the same, not the others of its user.
#[test]
fn without_ptrace_only_the_own_server_is_stopped() {
    let databases = Databases::start("noptrace").unwrap();
    std::thread::scope(|scope| {
        let stop = || {
            // Of this thread, and of those that it starts.
            nix_drop_ptrace();
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let primary = open(&runtime, &databases.primary, ("second", SECOND.into()));
            let pid = databases.primary.main_pid().unwrap();
            assert!(fs::read_link(format!("/proc/{pid}/cwd")).is_err(), "it has the right still");
            let seen = runtime.block_on(primary.observe());
            assert_eq!(seen.process, Process::Running(u32::try_from(pid).unwrap()));
            runtime.block_on(primary.perform(Step::StopImmediate)).unwrap();
        };
        scope.spawn(stop).join().unwrap();
    });
    assert!(databases.primary.session().is_err(), "the server has stopped");
    assert!(databases.standby.is_in_recovery().unwrap(), "another server of the user serves");
}

/// `CAP_SYS_PTRACE`, bit 19, goes from the thread's effective and permitted sets.
fn nix_drop_ptrace() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    const EFFECTIVE_AND_PERMITTED: [usize; 2] = [0, 1];
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [0_u32; 6];
    // SAFETY: both are as large as this version of the call wants them.
    let got = unsafe { libc::syscall(libc::SYS_capget, &mut header, sets.as_mut_ptr()) };
    assert_eq!(got, 0);
    for set in EFFECTIVE_AND_PERMITTED {
        sets[set] &= !(1 << 19);
    }
    // SAFETY: the same.
    let set = unsafe { libc::syscall(libc::SYS_capset, &mut header, sets.as_ptr()) };
    assert_eq!(set, 0);
}
