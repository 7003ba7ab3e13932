//! What nobody but root could have put where it is.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// Links that are followed at most, as in the kernel.
const LINKS: u32 = 40;

/// Whether only root can change what is at `path` and which file that is: each directory on the way
/// there, through links too, and the file itself belong to root, and no other user may write them.
/// A directory such as `/tmp`, in which each may only touch his own, is good for root's entries.
/// Returns where it is, without links.
///
/// # Errors
/// Names what another user could change, and what to do.
pub fn only_roots(path: &Path) -> anyhow::Result<PathBuf> {
    let (at, found) = walk(path, true)?;
    closed(&at, &found.with_context(|| format!("{} is not there", path.display()))?, false)?;
    Ok(at)
}

/// Where `path` is, without links, if only root can change which entry of which directory that is.
/// The entry itself may be another user's, or be missing.
///
/// # Errors
/// Names what another user could change.
pub fn place(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(walk(path, false)?.0)
}

fn walk(path: &Path, whole: bool) -> anyhow::Result<(PathBuf, Option<Metadata>)> {
    ensure!(path.is_absolute(), "{} is not an absolute path", path.display());
    let mut rest: VecDeque<OsString> = parts(path).collect();
    let mut at = PathBuf::from("/");
    let mut links = 0;
    let mut above = look(&at)?;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            above = look(&at)?;
            continue;
        }
        // A sticky directory keeps an entry only if there is one.
        closed(&at, &above, whole || !rest.is_empty())?;
        let next = at.join(&part);
        let last = !whole && rest.is_empty();
        let found = match look(&next) {
            Ok(found) if last && !found.is_symlink() => return Ok((next, Some(found))),
            Err(_) if last => return Ok((next, None)),
            found => found?,
        };
        ensure!(
            is_roots(&found),
            "{} belongs to user {}, who could put something else there; `chown root {0}`",
            next.display(),
            found.uid()
        );
        if found.is_symlink() {
            links += 1;
            ensure!(links <= LINKS, "{} has too many links", path.display());
            let target = fs::read_link(&next)
                .with_context(|| format!("cannot read the link {}", next.display()))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
                above = look(&at)?;
            }
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(part);
            }
            continue;
        }
        (at, above) = (next, found);
    }
    Ok((at, Some(above)))
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn look(path: &Path) -> anyhow::Result<Metadata> {
    fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))
}

/// Root, or who the agent is: it runs for one user only then.
fn is_roots(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw()
}

fn closed(path: &Path, found: &Metadata, as_directory: bool) -> anyhow::Result<()> {
    let shown = path.display();
    ensure!(
        is_roots(found),
        "{shown} belongs to user {}, who could put something else there; `chown root {shown}`",
        found.uid()
    );
    let sticky = as_directory && found.is_dir() && found.mode() & libc::S_ISVTX != 0;
    ensure!(
        sticky || found.mode() & 0o022 == 0,
        "{shown} may be written by others than root (mode {:o}); `chmod go-w {shown}`",
        found.mode() & 0o7777
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt as _, chown, symlink},
    };

    use super::*;

    #[test]
    fn what_another_user_could_change_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        let set =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let file = top.join("a/file");
        fs::create_dir(top.join("a")).unwrap();
        fs::write(&file, "").unwrap();
        assert_eq!(only_roots(&file).unwrap(), file);
        set(&file, 0o664);
        assert!(only_roots(&file).unwrap_err().to_string().contains("chmod go-w"));
        set(&file, 0o644);
        set(&top.join("a"), 0o777);
        assert!(only_roots(&file).unwrap_err().to_string().contains("a may be written"));
        set(&top.join("a"), 0o1777);
        assert_eq!(only_roots(&file).unwrap(), file, "root's in a sticky directory");
        chown(&file, Some(65534), None).unwrap();
        assert!(only_roots(&file).unwrap_err().to_string().contains("belongs to user 65534"));
        chown(&file, Some(0), None).unwrap();
        set(&top.join("a"), 0o755);

        fs::create_dir(top.join("b")).unwrap();
        symlink("../a/file", top.join("b/link")).unwrap();
        assert_eq!(only_roots(&top.join("b/link")).unwrap(), file);
        chown(top.join("b"), Some(65534), None).unwrap();
        assert!(only_roots(&top.join("b/link")).is_err(), "the link is in another's directory");
        symlink("b", top.join("c")).unwrap();
        assert!(only_roots(&top.join("c/link")).is_err(), "through a link as well");
        symlink("loop", top.join("loop")).unwrap();
        assert!(only_roots(&top.join("loop")).is_err());
        assert!(only_roots(&top.join("nothing")).is_err());
    }
}
