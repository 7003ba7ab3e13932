//! Files of the database, touched as the database's user.
//!
//! The functions here work with the rights of the thread: call them below [`act`], or
//! [`as_owner`]. Whatever stands in the place of a file, nobody waits for it and
//! nothing else is touched: a file is opened without following a link, without blocking, and only if
//! it is a regular one; what is read is bounded; what is written is a new file that takes the
//! other's place. Links above the file (a log directory on another disk) lead only where that
//! user may go.
//!
//! The directory above a data directory is often root's. There, and nowhere else, the thread takes
//! back root's right to write, for one call that names an entry of that directory itself: `House`.

use std::{
    cell::RefCell,
    ffi::OsStr,
    fs::{self, File, Metadata, Permissions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;
use caps::{CapSet, Capability};
use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};
use tokio::sync::oneshot;

use super::{Owner, as_owner, trusted};

/// Bytes of the largest file that is read as a whole: a configuration.
pub const LARGEST: u64 = 16 << 20;
/// Bytes of the largest file that is copied: a segment of the log.
const LARGEST_COPY: u64 = 1 << 30;

/// Runs `work` on a thread of its own, as `owner` to the file system if one is given. Entries beside
/// `data_dir` may be made even where only root may. Dropping the future does not end it.
///
/// # Errors
/// Those of `work`, or when the thread cannot be that user.
pub async fn act<T: Send + 'static>(
    owner: Option<Owner>,
    data_dir: &Path,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (done, outcome) = oneshot::channel();
    let data_dir = data_dir.to_owned();
    let task = move || {
        if owner.is_some() {
            HOUSE.set(House::above(&data_dir));
        }
        let outcome = as_owner(owner.as_ref(), work);
        // Nobody listens if the step was given up.
        drop(done.send(outcome.unwrap_or_else(|error| Err(error.into()))));
    };
    thread::Builder::new()
        .name("ogha-files".to_owned())
        .spawn(task)
        .context("cannot start a thread")?;
    outcome.await.context("the thread that works on files panicked")?
}

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// The directory above the data directory, if only root can change what is there.
struct House {
    /// Where it is, without links.
    directory: PathBuf,
    /// The same as the configuration names it.
    named: PathBuf,
    /// The data directory's name there.
    name: Vec<u8>,
}

impl House {
    fn above(data_dir: &Path) -> Option<Self> {
        // It may have been renamed by now; a link to it is root's as well.
        let place = trusted::place(data_dir).ok()?;
        let name = place.file_name()?.as_encoded_bytes().to_owned();
        let (directory, named) = (place.parent()?.to_owned(), data_dir.parent()?.to_owned());
        Some(Self { directory, named, name })
    }

    /// Whether the entry is the data directory, or one that ogha named after it.
    fn has(&self, path: &Path) -> bool {
        let ours = |name: &OsStr| {
            let rest = name.as_encoded_bytes().strip_prefix(self.name.as_slice());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b".ogha-"))
        };
        path.parent().is_some_and(|above| above == self.directory || above == self.named)
            && path.file_name().is_some_and(ours)
    }

    /// Repeats as root what the guest may not do to these entries.
    fn lend<T>(paths: &[&Path], work: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let denied = match work() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
            done => return done,
        };
        let here = |house: &Self| paths.iter().all(|path| house.has(path));
        if !HOUSE.with_borrow(|house| house.as_ref().is_some_and(here)) {
            return Err(denied);
        }
        caps::raise(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE)
            .map_err(io::Error::other)?;
        let done = work();
        caps::drop(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE)
            .map_err(io::Error::other)?;
        done
    }
}

/// Opens a regular file; neither follows a link nor waits.
fn open(path: &Path, flags: OFlag, mode: u32) -> io::Result<File> {
    let never = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags | never)
        .mode(Mode::from_bits_truncate(mode))
        // Not through `/proc/self/fd`, which is the agent's.
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(AT_FDCWD, path, how) {
        Ok(file) => File::from(file),
        Err(nix::errno::Errno::ELOOP) => return Err(irregular("a link")),
        // A socket, or a FIFO to write.
        Err(nix::errno::Errno::ENXIO) => return Err(irregular("a socket or FIFO")),
        Err(error) => return Err(error.into()),
    };
    let meta = file.metadata()?;
    let kind = meta.file_type();
    if kind.is_dir() {
        return Err(irregular("a directory"));
    } else if kind.is_fifo() {
        return Err(irregular("a FIFO"));
    } else if !kind.is_file() {
        return Err(irregular("a device"));
    }
    let (owner, me) = (meta.uid(), fs_user());
    // Only a server's user has its files; root without one is told nothing.
    if me != 0 && owner != me && owner != 0 {
        return Err(io::Error::other(format!(
            "it belongs to user {owner}, not to {me}; give it to user {me} or remove it"
        )));
    }
    Ok(file)
}

fn irregular(what: &str) -> io::Error {
    io::Error::other(format!("it is {what}, not a regular file; remove it"))
}

/// Who the thread is to the file system.
fn fs_user() -> u32 {
    // An impossible number changes nothing and tells what is in force.
    nix::unistd::setfsuid(libc::uid_t::MAX.into()).as_raw()
}

/// At most so many bytes of the begin of a file; `None` if there is none.
///
/// # Errors
/// When it is there and cannot be read, or is no regular file.
pub fn begin(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match open(path, OFlag::O_RDONLY, 0) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// At most so many bytes of the end of a file, and nothing of its first `after` bytes.
///
/// # Errors
/// When it cannot be read, or is no regular file.
pub fn end(path: &Path, after: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open(path, OFlag::O_RDONLY, 0)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(after.max(length.saturating_sub(most))))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a file; 0 of one that is not there.
#[must_use]
pub fn length(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.len())
}

/// Whether something is there, be it a link that leads nowhere.
#[must_use]
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Reads a file; `None` if there is none.
///
/// # Errors
/// When it is there and cannot be read, is no regular file, or is too large.
pub fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let context = || format!("cannot read {}", path.display());
    let bytes = begin(path, LARGEST + 1).with_context(context)?;
    if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > LARGEST) {
        return Err(
            anyhow::anyhow!("it is larger than {LARGEST} bytes; remove it").context(context())
        );
    }
    Ok(bytes)
}

/// Replaces a file by one with this text, and returns when both are on the disk. What stood there
/// keeps its permissions if it was a file, and is gone if it was a link.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let there = fs::symlink_metadata(path).ok().filter(Metadata::is_file);
    let mode = there.map_or(0o600, |meta| meta.permissions().mode() & 0o777);
    replace_from(path, mode, &mut &*text)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn replace_from(path: &Path, mode: u32, from: &mut dyn io::Read) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".ogha-temp");
    let temporary = Path::new(&temporary);
    let context = || format!("cannot make {}", temporary.display());
    // One that an interrupted run left, or that was put there.
    match House::lend(&[temporary], || fs::remove_file(temporary)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(context).context("remove it by hand");
        }
        _ => {}
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let make = || open(temporary, flags, mode);
    let mut file = House::lend(&[temporary], make).with_context(context)?;
    // Not less by the mask that the agent was started with.
    file.set_permissions(Permissions::from_mode(mode))?;
    io::copy(from, &mut file).and_then(|_| file.sync_all())?;
    House::lend(&[temporary, path], || fs::rename(temporary, path))?;
    Ok(sync_parent(path)?)
}

/// Removes a file, for good; one that is not there is no error.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    remove_now(path).with_context(|| format!("cannot remove {}", path.display())).map(drop)
}

/// The same, and whether it was there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_now(path: &Path) -> io::Result<bool> {
    match House::lend(&[path], || fs::remove_file(path)) {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a directory with all that is in it; one that is not there is no error.
///
/// # Errors
/// When something of it cannot be removed.
pub fn remove_tree(path: &Path) -> anyhow::Result<()> {
    let done = match fs::remove_dir_all(path) {
        // Its content may be gone, and only its entry be left in root's directory.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            House::lend(&[path], || fs::remove_dir(path)).map_err(|_| error)
        }
        done => done,
    };
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Moves a directory or file, for good.
///
/// # Errors
/// When it cannot be moved.
pub fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot rename {} to {}", from.display(), to.display());
    House::lend(&[from, to], || fs::rename(from, to)).with_context(context)?;
    sync_parent(to).with_context(context)
}

/// Makes a directory that only its owner may enter; one of his that is there is no error.
///
/// # Errors
/// When it cannot be made, or something else is there.
pub fn make_dir(path: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot make the directory {}", path.display());
    let make = || fs::DirBuilder::new().mode(0o700).create(path);
    match House::lend(&[path], make) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(context);
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(path).with_context(context)?;
    anyhow::ensure!(
        meta.is_dir() && meta.uid() == fs_user(),
        "{} is no directory of user {}, or is a link; remove it",
        path.display(),
        fs_user()
    );
    set_mode(path, 0o700)?;
    sync_parent(path).with_context(context)
}

/// Opens a directory, through links too: he may go where they lead.
fn open_dir(path: &Path) -> io::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(AT_FDCWD, path, how).map(File::from)?)
}

/// Sets the permissions of a directory, for good.
///
/// # Errors
/// When it is another user's, or no directory.
pub fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    let set = || {
        let dir = open_dir(path)?;
        dir.set_permissions(Permissions::from_mode(mode & 0o7777))?;
        dir.sync_all()
    };
    set().with_context(|| format!("cannot change the permissions of {}", path.display()))
}

/// The permissions of a file or directory.
///
/// # Errors
/// When it is not there.
pub fn mode(path: &Path) -> anyhow::Result<u32> {
    let meta = fs::metadata(path)
        .with_context(|| format!("cannot read the metadata of {}", path.display()))?;
    Ok(meta.permissions().mode() & 0o7777)
}

/// Copies a file, for good. A link is copied as one, and nobody looks where it leads.
///
/// # Errors
/// When it cannot be copied, or is larger than a segment of the log can be.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    if let Ok(target) = fs::read_link(from) {
        remove(to)?;
        std::os::unix::fs::symlink(target, to).with_context(context)?;
        return sync_parent(to).with_context(context);
    }
    let file = open(from, OFlag::O_RDONLY, 0).with_context(context)?;
    let meta = file.metadata().with_context(context)?;
    anyhow::ensure!(
        meta.len() <= LARGEST_COPY,
        "{} is larger than {LARGEST_COPY} bytes: it is no file of the server; remove it",
        from.display()
    );
    let mode = meta.permissions().mode() & 0o777;
    replace_from(to, mode, &mut file.take(LARGEST_COPY)).with_context(context)
}

/// An entry of a directory.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Of what kind and how large it is, or the link that it is.
    pub meta: Metadata,
}

/// The entries of a directory whose names are text.
///
/// # Errors
/// When it cannot be read.
pub fn list(dir: &Path) -> anyhow::Result<Vec<Entry>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let entry = |entry: fs::DirEntry| {
        // What has gone meanwhile is none.
        Some(Entry { meta: entry.metadata().ok()?, name: entry.file_name().into_string().ok()? })
    };
    Ok(entries.flatten().filter_map(entry).collect())
}

/// Where the links below a directory lead.
#[must_use]
pub fn links(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

/// Bytes in the files below a directory, as far as it can be read.
///
/// # Errors
/// When the directory itself cannot be.
pub fn size(dir: &Path) -> anyhow::Result<u64> {
    /// Deeper than any server's.
    const DEPTH: usize = 16;
    let mut sum = 0_u64;
    let mut open: Vec<(PathBuf, usize)> = vec![(dir.to_owned(), 0)];
    list(dir)?;
    while let Some((dir, depth)) = open.pop() {
        for entry in list(&dir).unwrap_or_default() {
            if !entry.meta.is_dir() {
                sum = sum.saturating_add(entry.meta.len());
            } else if depth < DEPTH {
                open.push((dir.join(entry.name), depth + 1));
            }
        }
    }
    Ok(sum)
}

/// The number of the file system that something is on, and a link's target's.
///
/// # Errors
/// When it is not there.
pub fn file_system(path: &Path) -> anyhow::Result<u64> {
    let meta = fs::metadata(path);
    Ok(meta.with_context(|| format!("cannot read the metadata of {}", path.display()))?.dev())
}

/// Whether something is there that he may look at, through links too.
///
/// # Errors
/// Why not.
pub fn look(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(drop)
}

/// Whether it is a file, or a link to one.
#[must_use]
pub fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

/// Whether it is a link.
#[must_use]
pub fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

/// Whether something is a directory, or a link to one.
#[must_use]
pub fn leads_to_directory(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// The directory without links; as it is named while it is not there.
#[must_use]
pub fn real(data_dir: &Path) -> PathBuf {
    fs::canonicalize(data_dir)
        .or_else(|_| fs::read_link(data_dir))
        .unwrap_or_else(|_| data_dir.to_owned())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => {
            // A directory that he may not read is root's, and what it has is not for him to sync.
            match open_dir(parent) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                dir => dir?.sync_all(),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[tokio::test]
    async fn new_files_are_the_owners_even_in_roots_directory() {
        let root = nix::unistd::geteuid().is_root();
        assert!(root, "this test needs root, to act for another user");
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let made = fs::canonicalize(dir.path()).unwrap().join("data.ogha-made");
        let path = made.clone();
        let owner = Owner { uid: nobody.uid, gid: nobody.gid, groups: vec![nobody.gid] };
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        act(Some(owner), &dir.path().join("data"), move || {
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
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path).unwrap()), (b"two".to_vec(), 0o640));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
