//! What an executor says of itself whenever it is asked about a target: the ledger it uses, and the
//! namespaces it may touch.

use aegis_contract::receipt::LedgerPosition;
use aegis_runtime::clock;
use serde_json::json;
use tracing::warn;

use super::executor::Link;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::store::{Store, clusters, commit};

/// One report.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// The ledger in use, and how far it has got.
    pub(super) ledger: LedgerPosition,
    /// The namespaces on the executor's allowlist, sorted.
    pub(super) allowed_namespaces: Vec<String>,
}

/// Keeps a report, with an entry when it says something new. Most reports do not, and write nothing.
pub(super) async fn note(store: &Store, link: &Link, report: Report) -> Result<(), Error> {
    let known = link.ledger.filter(|ledger| ledger.id == report.ledger.id);
    let is_regular = known.is_some_and(|ledger| ledger.regressed || report.ledger.row >= ledger.row_seen);
    if is_regular && link.cluster.allowed_namespaces.as_ref() == Some(&report.allowed_namespaces) {
        return Ok(());
    }
    let name = link.cluster.name.as_str();
    let mut tx = store.begin().await?;
    let before = clusters::lock(&mut tx, name).await?.ok_or(Error::NotFound { what: "cluster" })?;
    let row_before = known.map_or(0, |ledger| ledger.row_seen);
    clusters::note_ledger(&mut tx, name, report.ledger, row_before, clock::now()).await?;
    let Report { ledger, allowed_namespaces } = report;
    if before.ledger_id != Some(ledger.id) || before.allowed_namespaces.as_ref() != Some(&allowed_namespaces)
    {
        clusters::set_reported(&mut tx, name, ledger.id, &allowed_namespaces).await?;
        let data = json!({
            "cluster": name,
            "ledger": ledger.id,
            "allowedNamespaces": allowed_namespaces,
            "before": before.ledger_id.map(|ledger| json!({
                "ledger": ledger,
                "allowedNamespaces": before.allowed_namespaces,
            })),
        });
        let principal = format!("executor:{name}");
        let kind = Kind::ClusterReported;
        audit::append(
            &mut tx,
            Record { kind, principal: &principal, action_id: None, request_id: None, data },
        )
        .await?;
    }
    commit(tx, None).await?;
    if before.ledger_id.is_some_and(|before| before != ledger.id) {
        warn!(cluster = name, ledger = %ledger.id, "the executor uses another ledger than before");
    }
    Ok(())
}
