//! Whether the data plane is still there: the programs attached, links and maps pinned. The agent keeps a
//! descriptor of each, so that what somebody unpins stays in force, and can be pinned again.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ogha_common::maps::name;

use super::{
    claim::Claim,
    links::{self, PinKind},
    raw::{self, Hook},
};

/// What is held of a data plane that is in force.
#[derive(Debug)]
pub struct Guard {
    bpf_dir: PathBuf,
    claim: Claim,
    maps: Vec<HeldMap>,
    links: Vec<HeldLink>,
}

#[derive(Debug)]
struct HeldMap {
    path: PathBuf,
    map: OwnedFd,
    id: u32,
}

#[derive(Debug)]
struct HeldLink {
    path: PathBuf,
    link: OwnedFd,
    id: u32,
    kind: PinKind,
}

/// What a look at the data plane has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What was wrong and was put right, each in a sentence.
    pub repaired: Vec<String>,
    /// What is wrong still: the programs have to be loaded again.
    pub broken: Vec<String>,
    /// A program was detached: by hand, or because the interface that it was attached to is no more.
    pub detached: bool,
}

impl Guard {
    /// Opens all that is pinned.
    ///
    /// # Errors
    /// When something is missing.
    pub fn take(bpf_dir: &Path, claim: Claim) -> anyhow::Result<Self> {
        let maps = name::ALL.iter().map(|name| HeldMap::open(bpf_dir.join(name)));
        let maps = maps.collect::<anyhow::Result<_>>()?;
        let mut held = Vec::new();
        for path in links::entries(&bpf_dir.join(links::DIRECTORY))? {
            if let Some(kind) = PinKind::of(&path) {
                held.push(HeldLink::open(path, kind)?);
            }
        }
        Ok(Self { bpf_dir: bpf_dir.to_owned(), claim, maps, links: held })
    }

    /// Opens all that is pinned now, after it was loaded again. Says whether a map is another than before:
    /// it is empty then.
    ///
    /// # Errors
    /// When something is missing.
    pub fn retake(&mut self) -> anyhow::Result<bool> {
        let fresh = {
            let maps = name::ALL.iter().map(|name| HeldMap::open(self.bpf_dir.join(name)));
            maps.collect::<anyhow::Result<Vec<_>>>()?
        };
        let mut held = Vec::new();
        for path in links::entries(&self.bpf_dir.join(links::DIRECTORY))? {
            if let Some(kind) = PinKind::of(&path) {
                held.push(HeldLink::open(path, kind)?);
            }
        }
        let ids = |maps: &[HeldMap]| maps.iter().map(|map| map.id).collect::<Vec<_>>();
        let other = ids(&fresh) != ids(&self.maps);
        (self.maps, self.links) = (fresh, held);
        self.claim.renew()?;
        Ok(other)
    }

    /// Whether the map of that name is the one with this number, and which number it has.
    #[must_use]
    pub fn map_id(&self, name: &str) -> Option<u32> {
        self.maps.iter().find(|map| map.path.ends_with(name)).map(|map| map.id)
    }

    /// Whether what comes in at an interface and what leaves it is seen.
    #[must_use]
    pub fn is_attached(&self, index: u32) -> bool {
        let at = |wanted: fn(PinKind) -> bool| {
            self.links.iter().any(|held| {
                let state = raw::link_state(held.link.as_fd());
                wanted(held.kind) && state.is_ok_and(|state| state.index == index)
            })
        };
        at(|kind| matches!(kind, PinKind::Egress(_)))
            && at(|kind| matches!(kind, PinKind::Xdp(_) | PinKind::Native(_) | PinKind::Ingress(_)))
    }

    /// Looks at all of it, and puts right what can be put right at once: what was unpinned is pinned
    /// again, what was detached is attached again by the same program.
    pub fn check(&mut self) -> Findings {
        let mut found = Findings::default();
        if let Err(error) = self.check_maps(&mut found) {
            found.broken.push(format!("{error:#}"));
        }
        for at in 0..self.links.len() {
            if let Err(error) = self.check_link(at, &mut found) {
                found.broken.push(format!("{error:#}"));
            }
        }
        if !found.repaired.is_empty()
            && let Err(error) = self.claim.renew()
        {
            found.broken.push(format!("{error:#}"));
        }
        found
    }

    fn check_maps(&self, found: &mut Findings) -> anyhow::Result<()> {
        for HeldMap { path, map, id } in &self.maps {
            match pinned(path)? {
                Pinned::Unknown => {}
                Pinned::Object(there) if raw::map_id(there.as_fd()).ok() == Some(*id) => {}
                Pinned::Object(_) => {
                    let path = path.display();
                    found.broken.push(format!("another map was pinned at {path}"));
                }
                Pinned::Nothing => {
                    self.pin_again(map, path)?;
                    found.repaired.push(format!("{} was removed: pinned again", path.display()));
                }
            }
        }
        Ok(())
    }

    fn check_link(&mut self, at: usize, found: &mut Findings) -> anyhow::Result<()> {
        let HeldLink { path, link, id, kind } = &self.links[at];
        let shown = path.display();
        if let (Some((index, hook)), Ok(state)) = (kind.hook(), raw::link_state(link.as_fd()))
            && state.index == 0
        {
            found.detached = true;
            let attached = match raw::attach(state.program, index, hook) {
                Ok(attached) => attached,
                // The interface is gone. Should it come back with another number, all is loaded again.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
                Err(error) => {
                    let what = format!("{shown} was detached, and cannot be attached again");
                    return Err(error).context(what);
                }
            };
            self.make_directory()?;
            replace(&attached, path)?;
            found.repaired.push(format!("{shown} was detached: attached again"));
            self.links[at] = HeldLink::open(path.clone(), *kind)?;
            return Ok(());
        }
        match pinned(path)? {
            Pinned::Unknown => {}
            Pinned::Object(there) => {
                let there = raw::link_state(there.as_fd());
                if there.is_ok_and(|there| there.id != *id) {
                    // Replaced by whoever loads beside this agent: what is pinned counts.
                    self.links[at] = HeldLink::open(path.clone(), *kind)?;
                }
            }
            Pinned::Nothing => {
                self.pin_again(link, path)?;
                found.repaired.push(format!("{shown} was removed: pinned again"));
            }
        }
        Ok(())
    }

    fn pin_again(&self, object: &OwnedFd, path: &Path) -> anyhow::Result<()> {
        self.make_directory()?;
        raw::pin(object.as_fd(), path)
            .with_context(|| format!("{} was removed, and cannot be pinned again", path.display()))
    }

    fn make_directory(&self) -> anyhow::Result<()> {
        super::checks::bpf_dir(&self.bpf_dir)
    }
}

impl HeldMap {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let map = raw::get(&path).with_context(|| format!("opening {}", path.display()))?;
        let id = raw::map_id(map.as_fd())?;
        Ok(Self { path, map, id })
    }
}

impl HeldLink {
    fn open(path: PathBuf, kind: PinKind) -> anyhow::Result<Self> {
        let link = raw::get(&path).with_context(|| format!("opening {}", path.display()))?;
        let id = raw::link_state(link.as_fd())?.id;
        Ok(Self { path, link, id, kind })
    }
}

impl PinKind {
    /// Where it is attached again; a tracepoint's cannot be detached.
    fn hook(self) -> Option<(u32, Hook)> {
        const SKB_MODE: u32 = 1 << 1;
        const DRIVER_MODE: u32 = 1 << 2;
        Some(match self {
            Self::Xdp(index) => (index, Hook::Xdp(SKB_MODE)),
            Self::Native(index) => (index, Hook::Xdp(DRIVER_MODE)),
            Self::Ingress(index) => (index, Hook::Ingress),
            Self::Egress(index) => (index, Hook::Egress),
            Self::Tracepoint => return None,
        })
    }
}

/// What is pinned at a path.
enum Pinned {
    Object(OwnedFd),
    Nothing,
    /// This process lacks the descriptors or the memory to look. It holds the object itself, so nothing
    /// is out of force.
    Unknown,
}

fn pinned(path: &Path) -> anyhow::Result<Pinned> {
    let error = match raw::get(path) {
        Ok(object) => return Ok(Pinned::Object(object)),
        Err(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(Pinned::Nothing),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Ok(Pinned::Unknown),
        _ => Err(error).with_context(|| format!("opening {}", path.display())),
    }
}

/// Pins a link in the place of one that is detached.
fn replace(link: &OwnedFd, path: &Path) -> anyhow::Result<()> {
    let mut successor = path.as_os_str().to_owned();
    successor.push(links::SUCCESSOR);
    let successor = PathBuf::from(successor);
    links::remove(&successor)?;
    raw::pin(link.as_fd(), &successor)
        .and_then(|()| fs::rename(&successor, path))
        .with_context(|| format!("pinning {}", path.display()))
}
