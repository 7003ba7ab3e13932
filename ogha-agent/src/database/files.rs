//! Files of the database, made and changed as the database's user.
//!
//! What is done here is done on a thread that is the database's user to the file system (setfsuid(2)
//! holds for one thread), so that new files belong to it from the start and the agent needs neither
//! `CAP_CHOWN` nor `CAP_FOWNER`. The thread keeps root's right to write anywhere, for the directory
//! above a data directory is often root's.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    thread,
};

use anyhow::Context as _;
use caps::{CapSet, Capability};
use nix::unistd::{Gid, Uid};
use tokio::sync::oneshot;

/// Runs `work` on a thread of its own, as `owner` to the file system if one is given. Dropping the
/// future does not end it.
pub(super) async fn act<T: Send + 'static>(
    owner: Option<(Uid, Gid)>,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (done, outcome) = oneshot::channel();
    let task = move || {
        // Nobody listens if the step was given up.
        drop(done.send(become_owner(owner).and_then(|()| work())));
    };
    thread::Builder::new()
        .name("ogha-files".to_owned())
        .spawn(task)
        .context("cannot start a thread")?;
    outcome.await.context("the thread that works on files panicked")?
}

fn become_owner(owner: Option<(Uid, Gid)>) -> anyhow::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    nix::unistd::setfsgid(gid);
    nix::unistd::setfsuid(uid);
    // Leaving root took it away from this thread; it is still permitted.
    caps::raise(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE)
        .context("cannot keep the right to write in directories of root")
}

/// Replaces a file by one with this text, and returns when both are on the disk.
pub(super) fn replace(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".ogha-temp");
    let temporary = Path::new(&temporary);
    let mode = fs::metadata(path).map_or(0o600, |meta| meta.permissions().mode() & 0o777);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(temporary)
        .with_context(context)?;
    file.write_all(text).and_then(|()| file.sync_all()).with_context(context)?;
    fs::rename(temporary, path).with_context(context)?;
    sync_parent(path).with_context(context)
}

/// Removes a file, for good; one that is not there is no error.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path).with_context(|| format!("cannot sync {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Reads a file; `None` if there is none.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Moves a directory or file, for good.
pub(super) fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot rename {} to {}", from.display(), to.display());
    fs::rename(from, to).with_context(context)?;
    sync_parent(to).with_context(context)
}

/// Makes a directory that only its owner may enter; one that is there is no error.
pub(super) fn make_dir(path: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot make the directory {}", path.display());
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(context);
        }
        _ => {}
    }
    set_mode(path, 0o700)?;
    sync_parent(path).with_context(context)
}

/// Sets the permissions of a file or directory, for good.
pub(super) fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    let context = || format!("cannot change the permissions of {}", path.display());
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(context)?;
    File::open(path).and_then(|file| file.sync_all()).with_context(context)
}

/// The permissions of a file or directory.
pub(super) fn mode(path: &Path) -> anyhow::Result<u32> {
    let meta = fs::metadata(path)
        .with_context(|| format!("cannot read the metadata of {}", path.display()))?;
    Ok(meta.permissions().mode() & 0o7777)
}

/// Copies a file, for good.
pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::copy(from, to).with_context(context)?;
    File::open(to).and_then(|file| file.sync_all()).with_context(context)?;
    sync_parent(to).with_context(context)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown};

    use super::*;

    #[tokio::test]
    async fn new_files_are_the_owners_even_in_roots_directory() {
        let root = nix::unistd::geteuid().is_root();
        assert!(root, "this test needs root, to act for another user");
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        let path = made.clone();
        act(Some((nobody.uid, nobody.gid)), move || {
            make_dir(&path)?;
            replace(&path.join("file"), b"text")?;
            set_mode(&path, 0o720)
        })
        .await
        .unwrap();
        for path in [made.clone(), made.join("file")] {
            let meta = fs::metadata(&path).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (nobody.uid.as_raw(), nobody.gid.as_raw()));
        }
        assert_eq!(mode(&made).unwrap(), 0o720);
        // This thread has stayed root.
        let own = dir.path().join("own");
        fs::write(&own, "").unwrap();
        assert_eq!(fs::metadata(&own).unwrap().uid(), 0);
        chown(&own, Some(nobody.uid.as_raw()), None).unwrap();
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgresql.auto.conf");
        replace(&path, b"one").unwrap();
        assert_eq!(mode(&path).unwrap(), 0o600);
        set_mode(&path, 0o640).unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path).unwrap()), (b"two".to_vec(), 0o640));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
