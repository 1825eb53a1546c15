//! What a watch of the workloads has seen: the same eyes for both arms.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aegis_tests::eventually::until;
use aegis_tests::kubernetes::Kubernetes;
use anyhow::{Context, Result};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::scene::workload;

/// Longest a change may take to be seen, or the cluster to come to rest, on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);
/// Longer than any run.
const WATCH_SECONDS: u32 = 14_400;

/// One workload as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    restarted_at: Option<String>,
    /// Whether its controller has dealt with the latest change.
    settled: bool,
    /// When `restarted_at` became what it is.
    at: Instant,
}

/// A running watch.
pub(super) struct Visible {
    workloads: Vec<watch::Receiver<Option<Seen>>>,
    reader: JoinHandle<()>,
}

/// Waits for the next change of one workload.
pub(super) struct Next {
    workload: watch::Receiver<Option<Seen>>,
    before: Option<String>,
}

impl Visible {
    /// Watches `workloads` workloads of a namespace; returns once all of them were seen.
    pub(super) async fn watch(kubernetes: &Kubernetes, namespace: &str, workloads: usize) -> Result<Self> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workloads).map(|_| watch::channel(None)).unzip();
        let senders = senders.into_iter().enumerate().map(|(index, sender)| (workload(index), sender));
        let client = kubernetes.client().await?;
        let path = format!(
            "/apis/apps/v1/namespaces/{namespace}/deployments?watch=true&timeoutSeconds={WATCH_SECONDS}"
        );
        let request = http::Request::get(path).body(kube::client::Body::empty())?;
        let body = client.send(request).await?.into_body();
        let reader = tokio::spawn(read(body, senders.collect()));
        let visible = Self { workloads: receivers, reader };
        until("the watch showing every workload", WITHIN, async || {
            Ok(visible.workloads.iter().all(|workload| workload.borrow().is_some()))
        })
        .await?;
        Ok(visible)
    }

    /// Starts waiting for the next change of one workload.
    pub(super) fn of(&self, index: usize) -> Result<Next> {
        let workload = self.workloads[index].clone();
        let before = workload.borrow().as_ref().context("the workload was seen")?.restarted_at.clone();
        Ok(Next { workload, before })
    }

    /// Waits until the controllers have dealt with every change.
    pub(super) async fn settled(&self) -> Result<()> {
        until("the controllers coming to rest", WITHIN, async || {
            let rests = |workload: &watch::Receiver<Option<Seen>>| {
                workload.borrow().as_ref().is_some_and(|seen| seen.settled)
            };
            Ok(self.workloads.iter().all(rests))
        })
        .await
    }
}

impl Drop for Visible {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Next {
    /// When the change was seen.
    pub(super) async fn next(&mut self) -> Result<Instant> {
        let Self { workload, before } = self;
        let changed = |seen: &Option<Seen>| seen.as_ref().is_some_and(|seen| seen.restarted_at != *before);
        let seen = tokio::time::timeout(WITHIN, workload.wait_for(changed)).await;
        let seen = seen.context("a change was not seen")?.context("the watch has ended")?;
        Ok(seen.as_ref().context("it was just looked at")?.at)
    }
}

#[derive(Deserialize)]
struct Event {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Spec {
    template: Template,
}

#[derive(Deserialize)]
struct Template {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    observed_generation: u64,
}

/// Reads events until the watch ends; whoever waits then learns that it did.
async fn read(mut body: kube::client::Body, workloads: HashMap<String, watch::Sender<Option<Seen>>>) {
    let mut pending = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let at = Instant::now();
        let Some(bytes) = frame.data_ref() else { continue };
        pending.extend_from_slice(bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) => take_in(&event.object, at, &workloads),
                // An error event, such as a version that is gone.
                Err(_) => return,
            }
        }
    }
}

fn take_in(object: &Object, at: Instant, workloads: &HashMap<String, watch::Sender<Option<Seen>>>) {
    let Some(workload) = workloads.get(&object.metadata.name) else { return };
    let restarted_at = object.spec.template.metadata.annotations.get(super::RESTARTED_AT).cloned();
    let settled = object.status.observed_generation == object.metadata.generation;
    workload.send_modify(|seen| {
        let same = seen.as_ref().filter(|seen| seen.restarted_at == restarted_at);
        let at = same.map_or(at, |seen| seen.at);
        *seen = Some(Seen { restarted_at, settled, at });
    });
}
