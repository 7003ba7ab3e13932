//! Files and processes of the database's user, who is not trusted.
//!
//! That user may put a link, a FIFO, a directory or terabytes in the place of each file that the
//! agent reads or writes, and its processes may call themselves what they like. So all access to
//! them is here, and nowhere else: files are touched with the rights of that user alone
//! (`owner`, `files`), and a process is signalled by a descriptor, after its user and its
//! working directory were verified ([`process`]). [`trusted`] tells what only root could have put
//! somewhere.

pub mod devices;
pub mod files;
pub mod mounts;
mod owner;
pub mod pidfile;
pub mod process;
pub mod task;
pub mod trusted;

pub use owner::{Owner, as_owner};
