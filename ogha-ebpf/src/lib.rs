//! Nothing: a build dependency of the agent, so that cargo rebuilds the programs with it.
#![no_std]
