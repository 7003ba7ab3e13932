//! What is pinned: this build's data plane, another's, or none; and what of another's can be kept.

use std::{
    collections::HashSet,
    fs,
    hash::Hasher as _,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use aya::{
    maps::{Array, Map, MapData, MapError, MapInfo, MapType},
    programs::loaded_programs,
    sys::SyscallError,
};
use ogha_common::maps::{Stamp, name};
use siphasher::sip::SipHasher13;

use super::{Plain, btf::Types, links};

/// Where maps wait, under `bpf_dir`, until the programs that use them are attached.
const NEXT: &str = "next";

/// What is pinned in a `bpf_dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// No map of ours.
    Nothing,
    /// All maps, made by this build.
    Ours,
    /// Another build made them, or a start was cut short.
    Other,
}

/// Looks at the pinned maps.
pub fn pinned(bpf_dir: &Path, build: u64) -> anyhow::Result<Pinned> {
    let mut missing = 0;
    for name in name::ALL {
        missing += usize::from(open(&bpf_dir.join(name))?.is_none());
    }
    Ok(match missing {
        0 if stamp(bpf_dir) == Some(build) => Pinned::Ours,
        _ if missing == name::ALL.len() => Pinned::Nothing,
        _ => Pinned::Other,
    })
}

/// The build of an object file.
pub fn build_of(object: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(object);
    hasher.finish().max(1)
}

/// The stamp of what is pinned, if it has one.
fn stamp(bpf_dir: &Path) -> Option<u64> {
    Some(array::<Stamp>(bpf_dir, name::STAMP)?.get(&0, 0).ok()?.0.build)
}

/// The pinned array of that name, if there is one with values of that size.
pub fn array<T: bytemuck::Pod>(bpf_dir: &Path, name: &str) -> Option<Array<MapData, Plain<T>>> {
    let map = MapData::from_pin(bpf_dir.join(name)).ok()?;
    let info = map.info().ok()?;
    let array = info.map_type().ok()? == MapType::Array;
    let fits = array && info.value_size() as usize == size_of::<T>();
    fits.then(|| Map::Array(map).try_into().ok())?
}

/// Where the maps of the next data plane are, or will be: those that are kept at their places, the
/// others aside.
#[derive(Debug)]
pub struct Next {
    bpf_dir: PathBuf,
    /// The names of those aside.
    aside: Vec<&'static str>,
    /// The ids of the maps that the attached programs use.
    used: HashSet<u32>,
}

impl Next {
    /// All at their places: those that are missing are made there.
    pub fn in_place(bpf_dir: &Path) -> Self {
        Self { bpf_dir: bpf_dir.to_owned(), aside: Vec::new(), used: HashSet::new() }
    }

    /// All aside, to be compared.
    ///
    /// # Errors
    /// If the directory for them cannot be made.
    pub fn aside(bpf_dir: &Path) -> anyhow::Result<Self> {
        clear(bpf_dir)?;
        let directory = bpf_dir.join(NEXT);
        fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        let used = used_maps(&bpf_dir.join(links::DIRECTORY))?;
        Ok(Self { bpf_dir: bpf_dir.to_owned(), aside: name::ALL.to_vec(), used })
    }

    /// Decides which of the old maps are kept, now that the new ones have been made.
    ///
    /// # Errors
    /// If the kernel does not tell of its maps.
    pub fn keep(&mut self) -> anyhow::Result<()> {
        let mut aside = Vec::new();
        for name in name::ALL {
            let next = self.bpf_dir.join(NEXT).join(name);
            // Events that nobody has read are not worth a doubt.
            if name != name::EVENTS && same(&self.bpf_dir.join(name), &next)? {
                links::remove(&next)?;
            } else {
                tracing::info!(map = name, "is made anew");
                aside.push(name);
            }
        }
        self.aside = aside;
        Ok(())
    }

    /// Where the map of that name is pinned.
    pub fn path(&self, name: &'static str) -> PathBuf {
        match self.aside.contains(&name) {
            true => self.bpf_dir.join(NEXT).join(name),
            false => self.bpf_dir.join(name),
        }
    }

    /// The programs that use them are attached: moves them to their places, and removes the maps
    /// that only the programs before these have used.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn settle(self) -> anyhow::Result<()> {
        for name in &self.aside {
            let (from, to) = (self.path(name), self.bpf_dir.join(name));
            fs::rename(&from, &to).with_context(|| format!("pinning {}", to.display()))?;
        }
        clear(&self.bpf_dir)?;
        for path in links::entries(&self.bpf_dir)? {
            let ours = name::ALL.iter().any(|name| path.ends_with(name));
            if ours || path.is_dir() {
                continue;
            }
            if open(&path).is_ok_and(|info| info.is_some_and(|map| self.used.contains(&map.id()))) {
                tracing::info!(map = %path.display(), "removing what an older version has left");
                links::remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Removes what was put aside.
pub fn clear(bpf_dir: &Path) -> anyhow::Result<()> {
    let directory = bpf_dir.join(NEXT);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The maps of the programs that the pinned links attach.
fn used_maps(directory: &Path) -> anyhow::Result<HashSet<u32>> {
    let attached: HashSet<u32> = links::programs(directory)?;
    let mut maps = HashSet::new();
    for program in loaded_programs() {
        let program = program.context("listing the programs")?;
        if attached.contains(&program.id()) {
            maps.extend(
                program.map_ids().context("asking for a program's maps")?.unwrap_or_default(),
            );
        }
    }
    Ok(maps)
}

fn open(path: &Path) -> anyhow::Result<Option<MapInfo>> {
    match MapInfo::from_pin(path) {
        Ok(info) => Ok(Some(info)),
        Err(MapError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("opening {}", path.display())),
    }
}

/// Are the two of one kind and size, with the same types?
fn same(old: &Path, new: &Path) -> anyhow::Result<bool> {
    let (Some(old), Some(new)) = (open(old)?, open(new)?) else { return Ok(false) };
    let sizes = |map: &MapInfo| {
        let kind = map.map_type().map(|kind| kind as u32).unwrap_or(u32::MAX);
        (kind, map.key_size(), map.value_size(), map.max_entries(), map.map_flags())
    };
    Ok(sizes(&old) == sizes(&new) && types(&old)? == types(&new)?)
}

/// A map's key and value, field by field; empty where the map has no type information.
fn types(map: &MapInfo) -> anyhow::Result<String> {
    /// Words of `struct bpf_map_info`.
    const BTF: usize = 16;
    let fd = map.fd().context("opening a map")?;
    let mut info = [0_u32; 32];
    inform(fd.as_fd(), &mut info).context("asking for a map's types")?;
    let [id, key, value] = [info[BTF], info[BTF + 1], info[BTF + 2]];
    if id == 0 {
        return Ok(String::new());
    }
    let data = btf(id).with_context(|| format!("reading the types {id}"))?;
    let types = Types::parse(data)?;
    Ok(format!("{} -> {}", types.text(key)?, types.text(value)?))
}

const OBJECT_INFO: libc::c_int = 15;
const BTF_BY_ID: libc::c_int = 19;

/// `struct bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    address: u64,
}

fn inform<T>(of: BorrowedFd<'_>, to: &mut T) -> io::Result<()> {
    let mut info = Info {
        fd: of.as_raw_fd() as u32,
        length: size_of::<T>() as u32,
        address: (&raw mut *to) as u64,
    };
    // SAFETY: the kernel writes no more than `length` bytes.
    unsafe { bpf(OBJECT_INFO, &mut info) }.map(drop)
}

/// Type information that the kernel has, raw.
fn btf(id: u32) -> anyhow::Result<Vec<u8>> {
    /// `struct bpf_btf_info`, its beginning.
    #[repr(C)]
    #[derive(Default)]
    struct BtfInfo {
        address: u64,
        length: u32,
        id: u32,
    }
    // SAFETY: the kernel reads four bytes, and the descriptor that it returns is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(bpf(BTF_BY_ID, &mut [id, 0])?) };
    let mut info = BtfInfo::default();
    inform(fd.as_fd(), &mut info)?;
    let mut data = vec![0; info.length as usize];
    let length = info.length;
    info = BtfInfo { address: data.as_mut_ptr() as u64, length, id: 0 };
    inform(fd.as_fd(), &mut info)?;
    ensure!(info.length == length, "it has changed meanwhile");
    Ok(data)
}

/// # Safety
/// `attributes` must be laid out as the kernel's `union bpf_attr` for that command, and what it
/// points to must be valid for it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: as the caller has promised.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
