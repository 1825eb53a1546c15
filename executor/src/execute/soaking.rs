//! Looks at the workloads of the allowed namespaces now and then, and remembers which templates all pods were available
//! with for the soak time: only those can be returned to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_contract::action::Change;
use aegis_contract::digest::Digest;
use aegis_contract::facts::Rollout;
use aegis_contract::target::Kind;

use super::Executor;
use crate::action::object::Object;
use crate::action::pods::Pods;
use crate::action::{rollout, template_digest};
use crate::cluster::{Caller, ReadError, collection_of};
use crate::ledger::LedgerError;
use crate::ledger::templates::{Remembered, Verdict};

/// Longest time between two looks.
const PERIOD_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two looks.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// Since when each workload has been whole, by uid, and whether that was remembered.
#[derive(Default)]
struct Whole(HashMap<String, Since>);

struct Since {
    template: Digest,
    at: Instant,
    is_remembered: bool,
}

impl Executor {
    /// What a rollback needs to tell good templates from others: what is remembered of them, and the soak time.
    pub(super) async fn good_templates(
        &self,
        change: &Change,
        object: &Object,
    ) -> Result<(Remembered, Duration), LedgerError> {
        let remembered = match change {
            Change::Rollback(_) => self.ledger.remembered(object.uid()).await?,
            Change::Restart(_) | Change::RestartPod(_) | Change::Scale(_) => Remembered::default(),
        };
        Ok((remembered, self.soak))
    }
}

/// Looks until the process is asked to end. Without a soak time there is nothing to look for.
pub(crate) async fn watch_soaking(executor: Arc<Executor>) {
    let soak = executor.soak;
    if soak.is_zero() {
        return;
    }
    let mut whole = Whole::default();
    while !executor.shutdown.is_triggered() {
        look(&executor, &mut whole, soak).await;
        executor.shutdown.pause((soak / 3).clamp(PERIOD_MIN, PERIOD_MAX)).await;
    }
}

async fn look(executor: &Executor, whole: &mut Whole, soak: Duration) {
    let mut seen = HashSet::new();
    let mut is_complete = true;
    for namespace in executor.allowlist.allowed() {
        for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
            match look_at_all(executor, &namespace, kind, whole, soak).await {
                Ok(uids) => seen.extend(uids),
                Err(error) => {
                    is_complete = false;
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, namespace, %kind, "workloads were not seen");
                }
            }
        }
    }
    if is_complete {
        whole.0.retain(|uid, _| seen.contains(uid));
    }
}

/// Looks at every workload of a kind in a namespace; returns their uids.
async fn look_at_all(
    executor: &Executor,
    namespace: &str,
    kind: Kind,
    whole: &mut Whole,
    soak: Duration,
) -> Result<Vec<String>, ReadError> {
    let path = collection_of(namespace, kind);
    let (mut seen, mut from) = (Vec::new(), None);
    loop {
        let (objects, next) = executor.cluster.page(&path, from.as_deref(), Caller::Observe).await?;
        for object in objects {
            seen.push(object.uid().to_owned());
            if let Some(template) = whole.soaked(kind, &object, soak, Instant::now()) {
                remember(executor, whole, &object, template).await;
            }
        }
        if next.is_none() {
            return Ok(seen);
        }
        from = next;
    }
}

async fn remember(executor: &Executor, whole: &mut Whole, object: &Object, template: Digest) {
    match executor.ledger.remember(object.uid(), template, Verdict::Good).await {
        Ok(()) => {
            if let Some(since) = whole.0.get_mut(object.uid()) {
                since.is_remembered = true;
            }
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a good template was not remembered");
        }
    }
}

impl Whole {
    /// The template that a workload has had all its pods available with for the soak time, to be remembered.
    fn soaked(&mut self, kind: Kind, object: &Object, soak: Duration, now: Instant) -> Option<Digest> {
        let is_whole =
            rollout::status(kind, object).rollout == Rollout::Complete && Pods::of(kind, object).wanted > 0;
        let Some(template) = template_digest(object).filter(|_| is_whole) else {
            self.0.remove(object.uid());
            return None;
        };
        let new = || Since { template, at: now, is_remembered: false };
        let since = self.0.entry(object.uid().to_owned()).or_insert_with(new);
        if since.template != template {
            *since = new();
        }
        (!since.is_remembered && now.duration_since(since.at) >= soak).then_some(template)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, available: u32) -> Object {
        Object::new(json!({
            "metadata": { "uid": "u", "generation": 1 },
            "spec": { "replicas": 2, "template": { "spec": { "containers": [{ "image": image }] } } },
            "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": available },
        }))
    }

    #[test]
    fn a_template_has_soaked_when_all_pods_were_available_without_a_break() {
        let (mut whole, soak, begin) = (Whole::default(), Duration::from_secs(60), Instant::now());
        let second = template_digest(&deployment("app:2", 2));
        for (second_of, image, available, expected) in [
            (0, "app:1", 2, None),
            (40, "app:1", 1, None),
            (80, "app:1", 2, None),
            // Another template begins anew.
            (120, "app:2", 2, None),
            (160, "app:2", 2, None),
            (200, "app:2", 2, second),
        ] {
            let now = begin + Duration::from_secs(second_of);
            let found = whole.soaked(Kind::Deployment, &deployment(image, available), soak, now);
            assert_eq!(found, expected, "after {second_of} s");
        }
    }
}
