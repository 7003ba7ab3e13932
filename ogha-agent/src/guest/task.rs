//! What the kernel shows of the database's processes.

use std::{fs, path::Path};

use ogha_common::detector::vitals::{Task, TaskState};

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
#[must_use]
pub fn any_is_traced(main: u32) -> bool {
    children(main).into_iter().any(|child| stat(child).is_some_and(|(letter, _)| letter == 't'))
}

fn children(main: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{main}/task/{main}/children"));
    let text = text.unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The process that the server calls by that number: it may be in a PID namespace of its own.
#[must_use]
pub fn child_called(main: u32, number: u32) -> Option<u32> {
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
}
