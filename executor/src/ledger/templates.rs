//! What is remembered of the pod templates of workloads.

use std::collections::HashSet;

use aegis_contract::digest::Digest;

use super::{Ledger, LedgerError, bounded};

/// What is remembered of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All its pods were available for the soak time.
    Good,
    /// Its workload was rolled back from it, or failed to roll out with it.
    Bad,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// The templates of one workload, as far as something is remembered of them. One can be both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Digests of those seen available.
    pub(crate) good: HashSet<Digest>,
    /// Digests of those that failed.
    pub(crate) bad: HashSet<Digest>,
}

impl Ledger {
    /// Remembers a template of the workload of this uid.
    pub(crate) async fn remember(
        &self,
        uid: &str,
        template: Digest,
        verdict: Verdict,
    ) -> Result<(), LedgerError> {
        bounded(async {
            sqlx::query!(
                "insert into ledger.templates (workload_uid, template_digest, verdict) values ($1, $2, $3)
                 on conflict do nothing",
                uid,
                template.as_bytes().as_slice(),
                verdict.as_str(),
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// What is remembered of the templates of the workload of this uid.
    pub(crate) async fn remembered(&self, uid: &str) -> Result<Remembered, LedgerError> {
        let rows = bounded(async {
            let rows = sqlx::query!(
                "select template_digest, verdict from ledger.templates where workload_uid = $1",
                uid
            );
            Ok(rows.fetch_all(&self.pool).await?)
        })
        .await?;
        let mut remembered = Remembered::default();
        for row in rows {
            let bytes = row.template_digest.try_into();
            let bytes = bytes.map_err(|_| LedgerError::Unreadable("a digest has 32 bytes".to_owned()))?;
            let of = if row.verdict == "good" { &mut remembered.good } else { &mut remembered.bad };
            of.insert(Digest::from_bytes(bytes));
        }
        Ok(remembered)
    }
}
