//! The audit log in its order: one history, whoever is killed or frozen; and nobody changes it unnoticed.

mod auditor;
mod broken_exports;
mod campaign;
mod exports;
mod following;
mod forks;
mod keys;
mod kills;
mod mirrors;
mod ordering;
mod proofs;
mod queries;
mod questions;
mod reconciling;
mod retention;
mod search;
mod stored;
mod stories;
mod tampering;
mod turns;

use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::stack::{Part, Stack};
use anyhow::Result;
use sqlx::{Connection, PgConnection, Row, raw_sql};

use self::stored::StoredLog;

/// All of this takes milliseconds; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(90);

/// Whether a control plane says that it gives the entries their places.
async fn is_sequencing(part: &Part) -> Result<bool> {
    let page = Caller::anonymous(part.url())?.get("/metrics").await?.expect(200)?.text;
    Ok(page.lines().any(|line| line == "aegis_audit_log_sequencing 1"))
}

/// The one control plane that does, and one of the others.
pub(crate) async fn sequencer_and_other(stack: &Stack) -> Result<(&Part, &Part)> {
    eventually("one control plane sequencing", WITHIN, async || {
        let (mut sequencing, mut others) = (Vec::new(), Vec::new());
        for part in stack.control_planes() {
            if is_sequencing(part).await? { sequencing.push(part) } else { others.push(part) }
        }
        Ok(match (&*sequencing, &*others) {
            ([sequencer], [other, ..]) => Some((*sequencer, *other)),
            _ => None,
        })
    })
    .await
}

/// Waits until nothing waits for its place any more.
pub(crate) async fn until_sequenced(stack: &Stack) -> Result<()> {
    let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    until("every entry having its place", WITHIN, async || {
        let row = raw_sql("select not exists (select from audit.pending)").fetch_one(&mut conn).await?;
        Ok(row.try_get(0)?)
    })
    .await
}

/// The log when nothing waited for its place any more.
async fn settled(stack: &Stack) -> Result<StoredLog> {
    until_sequenced(stack).await?;
    StoredLog::of(stack).await
}
