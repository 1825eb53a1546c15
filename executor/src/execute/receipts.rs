//! Signs receipts.

use std::sync::Arc;

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::dsse::ReceiptKey;
use aegis_contract::order::CONTRACT_VERSION;
use aegis_contract::receipt::{AttemptName, LedgerPosition, Receipt, Stage};
use aegis_runtime::clock;
use aegis_runtime::settings::renewal::InForce;

use super::history::Held;

/// Signs in the name of one cluster's executor.
#[derive(Clone)]
pub(crate) struct ReceiptSigner {
    cluster: String,
    key: Arc<InForce<ReceiptKey>>,
    held: Held,
}

impl ReceiptSigner {
    /// A signer for the executor of `cluster`.
    pub(crate) fn new(cluster: String, key: ReceiptKey, held: Held) -> Self {
        Self { cluster, key: Arc::new(InForce::new(key)), held }
    }

    /// Signs with another key from now on.
    pub(crate) fn renew(&self, key: ReceiptKey) {
        self.key.put(key);
    }

    /// The bytes of a signed receipt, as they are answered and stored.
    pub(crate) fn sign(
        &self,
        order_digest: Digest,
        attempt: Option<AttemptName>,
        ledger: LedgerPosition,
        stage: Stage,
    ) -> Vec<u8> {
        let receipt = Receipt {
            contract: CONTRACT_VERSION,
            cluster: self.cluster.clone(),
            order_digest,
            attempt,
            ledger,
            head: self.held.head(),
            issued_at: clock::now(),
            stage,
        };
        let bytes = canonical::to_bytes(&receipt).expect("row numbers and generations stay below 2^53");
        self.key.get().seal(&bytes)
    }
}
