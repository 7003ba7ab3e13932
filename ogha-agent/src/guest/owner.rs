//! Being the database's user to the file system, on one thread.

use std::io;

use nix::unistd::{Gid, Uid};

/// The user whose files are touched, and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub uid: Uid,
    /// Its main group.
    pub gid: Gid,
    /// All its groups.
    pub groups: Vec<Gid>,
}

/// Does `work` with the rights that this user has to files, and no others; as the agent itself if
/// none is given. `work` must not wait for anything but files, for the rights are the thread's.
///
/// # Errors
/// When the thread could not become that user. Then nothing was done.
pub fn as_owner<T>(owner: Option<&Owner>, work: impl FnOnce() -> T) -> io::Result<T> {
    let _taken = owner.map(Taken::take).transpose()?;
    Ok(work())
}

/// The thread is another user to the file system; dropped, it is what it was.
///
/// With the user the kernel takes from the thread each capability that lets root past permissions
/// (capabilities(7), "Effect of user ID changes on capabilities"), and gives them back afterwards.
/// The groups must go as well: a file that the group of root may read is no file for the guest.
struct Taken {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Taken {
    fn take(owner: &Owner) -> io::Result<Self> {
        let groups = nix::unistd::getgroups()?;
        set_groups(&owner.groups)?;
        let gid = nix::unistd::setfsgid(owner.gid);
        let uid = nix::unistd::setfsuid(owner.uid);
        // Dropped, it takes back what was done so far.
        let taken = Self { uid, gid, groups };
        // The two calls report no failure, but tell what is in force.
        let now = (
            nix::unistd::setfsuid(Uid::from_raw(libc::uid_t::MAX)),
            nix::unistd::setfsgid(Gid::from_raw(libc::gid_t::MAX)),
        );
        if now == (owner.uid, owner.gid) {
            return Ok(taken);
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the agent cannot act as user {}: it needs CAP_SETUID and CAP_SETGID",
                owner.uid
            ),
        ))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        nix::unistd::setfsuid(self.uid);
        nix::unistd::setfsgid(self.gid);
        if let Err(error) = set_groups(&self.groups) {
            // It has fewer rights then, not more.
            tracing::error!("a thread could not take its groups back: {error}");
        }
    }
}

/// Sets the groups of this thread alone; the C library's wrapper sets those of all threads.
fn set_groups(groups: &[Gid]) -> io::Result<()> {
    let raw: Vec<libc::gid_t> = groups.iter().map(|group| group.as_raw()).collect();
    // SAFETY: the pointer is to as many numbers as are named, and they live until the call is over.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, raw.len(), raw.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn roots_files_are_closed_meanwhile_and_open_again() {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root, to act for another user");
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let secret = dir.path().join("key");
        fs::write(&secret, "secret").unwrap();
        // The group is root's, which the agent is in.
        for mode in [0o600, 0o640] {
            fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
            let nobody = Owner { uid: 65534.into(), gid: 65534.into(), groups: vec![] };
            let seen = as_owner(Some(&nobody), || fs::read(&secret)).unwrap();
            assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{mode:o}");
            assert_eq!(fs::read(&secret).unwrap(), b"secret");
        }
        let groups = nix::unistd::getgroups().unwrap();
        let nobody = Owner { uid: 65534.into(), gid: 65534.into(), groups: vec![7.into()] };
        let panicked =
            std::panic::catch_unwind(|| as_owner(Some(&nobody), || panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(nix::unistd::getgroups().unwrap(), groups);
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
    }
}
