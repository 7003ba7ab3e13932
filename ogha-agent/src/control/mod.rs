//! temporary
#![expect(missing_docs, reason = "temporary")]
pub mod protocol;
pub mod server;
pub mod view;
