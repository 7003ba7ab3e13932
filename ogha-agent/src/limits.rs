//! What this process needs of its host's limits: descriptors enough, and memory that is never paged out.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

use nix::sys::{
    mman::{MlockAllFlags, mlockall},
    resource::{Resource, getrlimit, rlim_t, setrlimit},
};
use tracing::{info, warn};

/// Descriptors that suffice for all instances that a file may have, with all clients of the control socket.
const ENOUGH: rlim_t = 4096;
/// Below that, not even one instance is sure to have what it needs.
const FEW: rlim_t = 256;
/// So many are kept for what must go on when all others are used up.
const RESERVED: rlim_t = 64;
/// Arenas of the allocator: each may grow, and all of it is locked.
const ARENAS: libc::c_int = 2;

/// The limit of descriptors before it was raised.
static INHERITED: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Raises the limit of descriptors and locks the memory. What is not permitted is logged: it costs
/// availability on a host that is short of something, not safety.
pub fn prepare() {
    raise_descriptors();
    lock_memory();
}

/// What is used up by clients must not be missing for the database.
fn raise_descriptors() {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => *INHERITED.get_or_init(|| limits),
        Err(e) => return warn!("cannot read the limit of open files: {e}"),
    };
    let wanted = hard.max(ENOUGH);
    let raise = |to, most| setrlimit(Resource::RLIMIT_NOFILE, to, most);
    let raised = raise(wanted, wanted).or_else(|e| raise(hard, hard).and(Err(e)));
    let has = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    reserve(RESERVED);
    if has < FEW {
        let why = raised.err().map(|e| format!(" and may not raise it ({e})")).unwrap_or_default();
        warn!(
            "this process may have {has} open files{why}: what it cannot open is unknown to it, and it \
             may not be able to act. Give it at least {FEW} (LimitNOFILE= in its unit, `ulimit -n`)"
        );
    }
}

/// How many jobs may use what is reserved.
static ENTITLED: Mutex<u32> = Mutex::new(0);

/// Whoever holds it may open files though this process has used up its own: the limit in force is the hard
/// one while anybody does.
#[derive(Debug)]
pub struct Entitled(());

/// For what must go on: to stop a database, to write the record.
pub fn entitle() -> Entitled {
    let mut entitled = ENTITLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *entitled == 0 {
        reserve(0);
    }
    *entitled += 1;
    Entitled(())
}

impl Drop for Entitled {
    fn drop(&mut self) {
        let mut entitled = ENTITLED.lock().unwrap_or_else(PoisonError::into_inner);
        *entitled -= 1;
        if *entitled == 0 {
            reserve(RESERVED);
        }
    }
}

/// Keeps so many descriptors back, where there are enough: the soft limit is that far below the hard one.
fn reserve(kept: rlim_t) {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && hard >= FEW
    {
        // Within the hard limit that needs no permission; if it fails, nothing is kept back.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard - kept, hard);
    }
}

/// A tool, and the database that it starts, get the limit of descriptors that this process was started with.
pub fn hand_back(command: &mut Command) {
    let Some(&(soft, hard)) = INHERITED.get() else { return };
    let restore = move || -> io::Result<()> {
        // The hard limit stays where it is higher: to lower it could not be undone.
        let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(hard, |(_, most)| most);
        // A limit that is too high is no reason not to start.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(most), most);
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(restore) };
}

/// On a host that pages, the loop would be late by the time that its disk takes. Pages are locked when they
/// are first touched, so that the process takes no more memory than without.
fn lock_memory() {
    // SAFETY: it changes how later allocations are made, and touches no memory of ours.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    let unlimited = libc::RLIM_INFINITY;
    let permitted = has_ipc_lock()
        || setrlimit(Resource::RLIMIT_MEMLOCK, unlimited, unlimited).is_ok()
        || getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == unlimited);
    // Below a limit, memory that is wanted later would be refused, and the process would end of it.
    let locked = match permitted {
        true => mlockall(
            MlockAllFlags::MCL_CURRENT
                | MlockAllFlags::MCL_FUTURE
                | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT),
        )
        .map_err(|e| e.to_string()),
        false => Err("RLIMIT_MEMLOCK is limited, and there is no CAP_IPC_LOCK".to_owned()),
    };
    match locked {
        Ok(()) => info!("memory is locked"),
        Err(why) => warn!(
            "cannot lock the memory ({why}): where this host swaps, probes may be late. Set \
             LimitMEMLOCK=infinity in the unit, or give CAP_IPC_LOCK"
        ),
    }
}

fn has_ipc_lock() -> bool {
    caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_IPC_LOCK).unwrap_or(false)
}

/// Gives back what the start needed and what follows does not: the kernel's type information alone takes
/// some MiB.
pub fn trim_memory() {
    // SAFETY: it touches only what the allocator has free.
    unsafe { libc::malloc_trim(0) };
}
