//! Nobody is asked: each node goes on by itself.

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use ogha_common::failover::{Record, Ruling};

use super::{Answers, Arbiter};

/// Grants whatever is proposed.
#[derive(Clone, Copy, Debug)]
pub struct None;

impl Arbiter for None {
    fn kind(&self) -> &'static str {
        "none"
    }

    fn consult(&self) -> BoxFuture<'_, anyhow::Result<Option<Record>>> {
        ready(Ok(Option::None)).boxed()
    }

    fn propose(&self, record: Record) -> BoxFuture<'_, Ruling> {
        ready(Ruling::Granted(record.term)).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Answers> {
        ready(Vec::new()).boxed()
    }
}
