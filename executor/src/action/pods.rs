//! How many pods a target wants and has, as its controller counts them.

use aegis_contract::target::Kind;

use super::object::Object;

/// Counts of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pods {
    /// Pods that are wanted.
    pub(crate) wanted: u32,
    /// Pods that are there, of any template.
    pub(crate) present: u32,
    /// Pods of the present template.
    pub(crate) updated: u32,
    /// Pods that are available, of any template.
    pub(crate) available: u32,
    /// Pods that are ready, of any template.
    pub(crate) ready: u32,
}

impl Pods {
    /// Of an object of this kind; a pod is one of itself.
    pub(crate) fn of(kind: Kind, object: &Object) -> Self {
        match kind {
            Kind::Deployment | Kind::StatefulSet => Self {
                wanted: object.count("/spec/replicas"),
                present: object.count("/status/replicas"),
                updated: object.count("/status/updatedReplicas"),
                available: object.count("/status/availableReplicas"),
                ready: object.count("/status/readyReplicas"),
            },
            Kind::DaemonSet => {
                let wanted = object.count("/status/desiredNumberScheduled");
                Self {
                    wanted,
                    present: wanted,
                    updated: object.count("/status/updatedNumberScheduled"),
                    available: object.count("/status/numberAvailable"),
                    ready: object.count("/status/numberReady"),
                }
            }
            Kind::Pod => {
                let ready = u32::from(object.ready().is_some());
                Self { wanted: 1, present: 1, updated: 1, available: ready, ready }
            }
        }
    }
}
