//! What the kernel shows of a server's processes and disks. Nothing here asks the server, so that nobody
//! who keeps it busy can change what is seen; and nothing waits for it or for its disks, but
//! [`Devices::of`], which is for background threads.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use ogha_common::{
    detector::vitals::{Look, Task, TaskState},
    units::Instant,
};

use crate::clock;

/// What the driver tells the loop of the session that writes, and the disks behind it.
#[derive(Clone, Debug, Default)]
pub struct Writing(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The session's process; 0: not known.
    pid: AtomicU32,
    /// When the write under way began, `CLOCK_BOOTTIME`; 0: none is.
    since: AtomicU64,
    devices: Mutex<Option<Devices>>,
}

impl Writing {
    /// The session is that of this process, and writes to these disks.
    pub(super) fn is_by(&self, pid: Option<u32>, devices: Option<Devices>) {
        self.0.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
        *self.0.devices.lock().unwrap_or_else(PoisonError::into_inner) = devices;
    }

    /// A write begins; it is over when the guard is dropped.
    pub(super) fn begin(&self) -> Underway {
        self.0.since.store(clock::now().ns(), Ordering::Release);
        Underway(self.clone())
    }

    /// What there is to be seen. `main` is the main process; `thorough`: as something is suspect.
    #[must_use]
    pub fn look(&self, main: Option<u32>, thorough: bool) -> Look {
        let since = self.0.since.load(Ordering::Acquire);
        let pid = Some(self.0.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0 && since != 0);
        let devices = self.0.devices.lock().unwrap_or_else(PoisonError::into_inner);
        Look {
            main: main.map(task).unwrap_or_default(),
            writer: pid.map(task).unwrap_or_default(),
            writing_since: (since != 0).then(|| Instant::from_ns(since)),
            written: devices.as_ref().filter(|_| since != 0).and_then(Devices::written),
            traced: thorough && main.is_some_and(any_is_traced),
        }
    }
}

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Underway(Writing);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.0.since.store(0, Ordering::Release);
    }
}

/// A process at this moment.
#[must_use]
pub fn task(pid: u32) -> Task {
    let letter = stat(pid).map(|(letter, _)| letter);
    let state = match letter {
        Some('R') => TaskState::Runnable,
        Some('T') => TaskState::Stopped,
        Some('t') => TaskState::Traced,
        // The second version's freezer lets a process sleep as any other.
        Some('S' | 'D' | 'I') if is_frozen(pid) => TaskState::Frozen,
        Some('S' | 'D' | 'I') => TaskState::Asleep,
        _ => TaskState::Unknown,
    };
    Task { state, switches: switches(pid) }
}

/// The letter of the state, and the parent (proc(5), `stat`).
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses, and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// How often it gave its processor up, by itself or not.
fn switches(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let count = |line: &str| line.split_once(':')?.1.trim().parse::<u64>().ok();
    let lines = text.lines().filter(|line| line.contains("ctxt_switches:"));
    let counts: Option<Vec<u64>> = lines.map(count).collect();
    counts.filter(|counts| !counts.is_empty()).map(|counts| counts.iter().sum())
}

/// Whether its cgroup, or one above, is frozen: by version 1 or 2, wherever they are mounted usually.
fn is_frozen(pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    text.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return false };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().any(|root| {
                let events = fs::read_to_string(Path::new(root).join(path).join("cgroup.events"));
                events.is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
            })
        } else if controllers.split(',').any(|controller| controller == "freezer") {
            let file = Path::new("/sys/fs/cgroup/freezer").join(path).join("freezer.state");
            fs::read_to_string(file).is_ok_and(|state| state.trim() == "FROZEN")
        } else {
            false
        }
    })
}

/// Whether a debugger holds one of the processes that the main process has started.
fn any_is_traced(main: u32) -> bool {
    children(main).into_iter().any(|child| stat(child).is_some_and(|(letter, _)| letter == 't'))
}

fn children(main: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{main}/task/{main}/children"));
    let text = text.unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The process that the server calls by that number: it may be in a PID namespace of its own.
pub(super) fn child_called(main: u32, number: u32) -> Option<u32> {
    if stat(number).is_some_and(|(_, parent)| parent == main) {
        return Some(number);
    }
    children(main).into_iter().find(|child| innermost(*child) == Some(number))
}

/// Its number in its own namespace (proc(5), `status`).
fn innermost(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The block devices behind a data directory and its WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(Vec<PathBuf>);

impl Devices {
    /// Those of the server of that main process; `None` where there is none that could be watched, as
    /// with a network's file system. May wait for a disk.
    pub(super) fn of(main: u32) -> Option<Self> {
        let cwd = PathBuf::from(format!("/proc/{main}/cwd"));
        let places = [cwd.join("."), cwd.join("pg_wal/."), cwd.join("pg_xlog/.")];
        let mut numbers: Vec<u64> = places
            .iter()
            .filter_map(|place| fs::metadata(place).ok())
            .map(|meta| meta.dev())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let files: Option<Vec<_>> = numbers.into_iter().map(counters).collect();
        files.filter(|files| !files.is_empty()).map(Self)
    }

    /// How many writes and flushes they have completed so far.
    fn written(&self) -> Option<u64> {
        self.0.iter().map(|file| completed(&fs::read_to_string(file).ok()?)).sum()
    }
}

/// The file with a device's counters. Of a file system over others (`overlay`, btrfs) those of all disks.
fn counters(device: u64) -> Option<PathBuf> {
    let (major, minor) = (libc::major(device), libc::minor(device));
    if major != 0 {
        let file = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        return file.exists().then_some(file);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let number = format!("{major}:{minor}");
    let line = mounts.lines().find(|line| line.split_ascii_whitespace().nth(2) == Some(&number))?;
    let kind = line.split_once(" - ")?.1.split_ascii_whitespace().next()?;
    let local = matches!(kind, "overlay" | "btrfs" | "zfs" | "bcachefs");
    local.then(|| "/proc/diskstats".into())
}

/// Writes and flushes completed: of one device (`stat` in sysfs), or of all (`/proc/diskstats`).
fn completed(text: &str) -> Option<u64> {
    let of = |fields: &[u64]| Some(fields.get(4)? + fields.get(15).unwrap_or(&0));
    let line = |line: &str| {
        // In `diskstats` major, minor and name come first.
        let named =
            line.split_ascii_whitespace().nth(2).is_some_and(|name| name.parse::<u64>().is_err());
        let fields = line.split_ascii_whitespace().skip(if named { 3 } else { 0 });
        of(&fields.filter_map(|field| field.parse().ok()).collect::<Vec<_>>())
    };
    text.lines().map(line).sum()
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread::sleep, time::Duration};

    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    use super::*;

    #[test]
    fn a_process_that_is_stopped_is_seen_to_be() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let becomes = |state| {
            (0..1000).any(|_| {
                sleep(Duration::from_millis(5));
                task(pid).state == state
            })
        };
        assert!(becomes(TaskState::Asleep));
        assert!(task(pid).switches.is_some_and(|switches| switches > 0));
        kill(Pid::from_raw(pid as i32), Signal::SIGSTOP).unwrap();
        assert!(becomes(TaskState::Stopped));
        kill(Pid::from_raw(pid as i32), Signal::SIGCONT).unwrap();
        assert!(becomes(TaskState::Asleep));
        let own = std::process::id();
        assert_eq!(child_called(own, pid), Some(pid));
        assert_eq!(child_called(own, 1), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(task(pid), Task::default());
    }

    #[test]
    fn completed_writes_are_counted() {
        let device = "   1 2 3 4 50 6 7 8 9 10 11 12 13 14 15 600 17\n";
        assert_eq!(completed(device), Some(650));
        assert_eq!(completed("1 2 3 4 50 6 7 8 9 10 11\n"), Some(50), "an old kernel");
        let all = format!(" 254 0 vda {device} 7 0 loop0 {device}");
        assert_eq!(completed(&all), Some(1300));
        assert_eq!(completed("nonsense"), None);
    }

    #[test]
    fn a_write_is_under_way_until_it_is_over() {
        let writing = Writing::default();
        assert_eq!(writing.look(None, true), Look::default());
        let underway = writing.begin();
        assert!(writing.look(None, false).writing_since.is_some());
        drop(underway);
        assert_eq!(writing.look(None, false).writing_since, None);
    }
}
