//! Hears of changes of interfaces and addresses: from the kernel's multicast groups at once, and by asking
//! for all of them now and then, whatever was heard.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup::{Ipv4Ifaddr, Ipv6Ifaddr, Link};
use tokio::time::{sleep, timeout};

use super::survey::Survey;

/// Everything is looked at so often, though nothing was heard.
const PERIOD: Duration = Duration::from_millis(500);
/// The least time between two surveys: a host that makes a hundred interfaces has a hundred events.
const REST: Duration = Duration::from_millis(10);
/// The kernel answers within that time, or is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hands out a survey at once, after each change, and now and then. Ends when `see` says so.
///
/// A message that was lost because too many came (`ENOBUFS`) costs nothing: each message only says
/// that all has to be looked at, and the loss is a message too.
///
/// # Errors
/// When the kernel gives no socket, or does not answer. The caller may try again.
pub async fn watch(mut see: impl FnMut(Survey) -> bool) -> anyhow::Result<()> {
    let (connection, netlink, mut events) =
        rtnetlink::new_multicast_connection(&[Link, Ipv4Ifaddr, Ipv6Ifaddr])
            .context("cannot open a netlink socket for events")?;
    let connection = tokio::spawn(connection);
    let _ended = scopeguard(|| connection.abort());
    loop {
        let survey = timeout(PATIENCE, Survey::take(&netlink)).await;
        let survey = survey.context("netlink did not answer in time")??;
        if !see(survey) {
            return Ok(());
        }
        sleep(REST).await;
        match timeout(PERIOD, events.next()).await {
            Err(_) => {}
            Ok(None) => anyhow::bail!("the netlink socket for events was closed"),
            Ok(Some(_)) => while events.try_recv().is_ok() {},
        }
    }
}

/// Does something at the end of a scope, however that is left.
fn scopeguard(end: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(end)
}
