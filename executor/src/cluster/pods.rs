//! Following the pods of a workload: a list, and then every change as the API server tells it.

use std::pin::pin;
use std::time::Duration;

use aegis_contract::target::Target;
use futures_util::TryStreamExt;
use http::Request;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{CLIENT_TIMEOUT, Caller, Cluster, agent, percent_encode};
use crate::action::object::Object;

/// How long the API server keeps one watch open; then it is begun anew where it ended.
const WATCH_SECONDS: u32 = 240;
/// Pause before pods that went out of sight are listed again.
const LIST_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// News that may wait to be heard. The watch pauses meanwhile and nothing is lost.
const NEWS_MAX: usize = 256;

/// What happened to pods.
#[derive(Debug)]
pub(crate) enum PodNews {
    /// These are all there are.
    All(Vec<Object>),
    /// One is new or has changed.
    Now(Object),
    /// One is gone.
    Gone(Object),
    /// They are out of sight.
    Lost,
}

/// Pods being followed. Dropped, they are followed no further.
#[derive(Debug)]
pub(crate) struct PodsFollowed {
    news: mpsc::Receiver<PodNews>,
    _follower: JoinSet<()>,
}

impl PodsFollowed {
    /// The next piece of news.
    pub(crate) async fn news(&mut self) -> Option<PodNews> {
        self.news.recv().await
    }

    /// The same, if it is there already.
    pub(crate) fn news_at_once(&mut self) -> Option<PodNews> {
        self.news.try_recv().ok()
    }
}

/// How a watch ended.
enum Ended {
    /// Nobody listens.
    Unheard,
    /// As the API server does from time to time; it goes on from this version.
    At(String),
    /// It has to begin with a list.
    Anew,
}

impl Cluster {
    /// Follows the pods that `selector` (in the query's form) chooses in the target's namespace.
    pub(crate) fn follow_pods(&self, target: &Target, selector: &str, caller: Caller) -> PodsFollowed {
        let path = format!("/api/v1/namespaces/{}/pods", target.namespace);
        let query = format!("labelSelector={}", percent_encode(selector));
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let cluster = self.clone();
        let follower = async move { cluster.tell_of_pods(&path, &query, caller, &sender).await };
        PodsFollowed { news, _follower: JoinSet::from_iter([follower]) }
    }

    async fn tell_of_pods(&self, path: &str, query: &str, caller: Caller, news: &mpsc::Sender<PodNews>) {
        loop {
            match self.list_once(path, &format!("&{query}"), caller).await {
                Ok(pods) => {
                    if news.send(PodNews::All(pods.objects)).await.is_err() {
                        return;
                    }
                    let mut ended = Ended::At(pods.version);
                    while let Ended::At(version) = ended {
                        ended = self.watch_pods(path, query, &version, caller, news).await;
                    }
                    if matches!(ended, Ended::Unheard) || news.send(PodNews::Lost).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "cannot list pods");
                }
            }
            tokio::time::sleep(LIST_AGAIN_AFTER).await;
        }
    }

    async fn watch_pods(
        &self,
        path: &str,
        query: &str,
        version: &str,
        caller: Caller,
        news: &mpsc::Sender<PodNews>,
    ) -> Ended {
        let uri = format!(
            "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}&{query}"
        );
        let request = Request::get(uri).header(http::header::USER_AGENT, agent(caller)).body(Vec::new());
        let Ok(request) = request else { return Ended::Anew };
        let begun = tokio::time::timeout(CLIENT_TIMEOUT, self.client.request_events::<Value>(request)).await;
        let Ok(Ok(events)) = begun else { return Ended::Anew };
        let mut events = pin!(events);
        let mut version = version.to_owned();
        loop {
            let told = match events.try_next().await {
                Ok(None) => return Ended::At(version),
                Ok(Some(WatchEvent::Bookmark(bookmark))) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                Ok(Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod))) => {
                    PodNews::Now(Object::new(pod))
                }
                Ok(Some(WatchEvent::Deleted(pod))) => PodNews::Gone(Object::new(pod)),
                // Also 410: the version is too old to go on from.
                Ok(Some(WatchEvent::Error(_))) | Err(_) => return Ended::Anew,
            };
            if let PodNews::Now(pod) | PodNews::Gone(pod) = &told {
                version = pod.resource_version().to_owned();
            }
            if news.send(told).await.is_err() {
                return Ended::Unheard;
            }
        }
    }
}
