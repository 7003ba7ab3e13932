//! The agent of ogha: what runs on each node beside its database.

pub mod arbiter;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod database;
pub mod doctor;
pub mod failure;
pub mod guest;
mod host;
pub mod keepalived;
pub mod kernel;
mod limits;
pub mod logging;
pub mod net;
pub mod printable;
pub mod run;
pub mod secret;
pub mod service;
pub mod store;
