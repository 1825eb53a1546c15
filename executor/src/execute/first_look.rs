//! The first look at a target, taken while the ledger accepts the order.

use std::sync::Arc;

use aegis_contract::order::Act;
use tokio::task::JoinSet;

use super::Executor;
use crate::action::object::Object;
use crate::cluster::{Caller, ReadError};

/// A target being read. Dropped, it is read no further.
#[derive(Debug)]
pub(crate) struct FirstLook(JoinSet<Result<Option<Object>, ReadError>>);

impl FirstLook {
    /// Begins to read the target of an order. What it shows may be older than the acceptance; the write holds only
    /// for the object as it was read, whenever that was.
    pub(crate) fn begin(executor: &Arc<Executor>, act: &Act) -> Self {
        let executor = Arc::clone(executor);
        let (target, caller) = (act.target.clone(), Caller::Action(act.action_id));
        Self(JoinSet::from_iter([async move { executor.cluster.read(&target, caller).await }]))
    }

    /// What there is; `None` when there is no such object.
    pub(super) async fn finish(mut self) -> Result<Option<Object>, ReadError> {
        let read = self.0.join_next().await.and_then(Result::ok);
        read.unwrap_or_else(|| Err(ReadError::Unavailable("the read was given up".to_owned())))
    }
}
