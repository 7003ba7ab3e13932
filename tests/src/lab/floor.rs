//! The floor: what a promotion costs with nothing around it. No failover can be faster.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::Result;

use super::{
    Writer, clock,
    pair::{Databases, GENEROUS},
    sql::TABLE,
    writer::Patience,
};

/// Between two attempts to write.
const POLL: Duration = Duration::from_millis(1);

/// Writes for a while, as before every fault, so that what is promoted has the same to do.
const WRITES: usize = 100;

/// Promotes a fresh standby whose primary was killed, over a connection that is already open:
/// the time from the command to the first acknowledged write.
///
/// # Errors
/// If the databases cannot be made, or the promotion does not end.
pub fn promotion_alone() -> Result<Duration> {
    let databases = Databases::start("floor")?;
    let address = IpAddr::V4(databases.primary.host().address());
    let writer = Writer::start(&databases.client, address, Patience::default());
    writer.wait_for(WRITES, GENEROUS)?;
    let session = databases.standby.session()?;
    databases.primary.kill()?;
    drop(writer);
    // First the standby loses its stream. PostgreSQL may overlook a promotion that comes in the
    // same moment until `wal_retrieve_retry_interval` has passed: that would be no floor.
    thread::sleep(Duration::from_millis(20));
    let start = clock::now();
    session.rows("select pg_promote(false)")?;
    let insert = format!("insert into {TABLE} values (1000000000)");
    clock::wait_until("the promoted database to take a write", GENEROUS, POLL, || {
        session.rows(&insert).map(Some)
    })?;
    Ok(clock::now().since(start))
}
