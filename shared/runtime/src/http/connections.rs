//! How many connections there are, in all and of each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::neighbourhood;
use super::bounds::Bounds;
use crate::metrics::Metrics;

/// The connections of one listener.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    bounds: Bounds,
    metrics: Metrics,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place that one connection takes, until it is dropped.
pub(super) struct Place {
    connections: Connections,
    /// Whose it is, where that is counted.
    address: Option<IpAddr>,
}

impl Connections {
    pub(super) fn new(bounds: Bounds, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { bounds, metrics, open: Mutex::default() }))
    }

    /// A place for a connection from an address; none when there are too many, and that is counted.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Place> {
        let Inner { bounds, metrics, .. } = &*self.0;
        // A proxy's connections are those of all its callers.
        let address = (!bounds.proxies.include(peer)).then(|| neighbourhood(peer));
        let mut open = self.open();
        if open.total >= bounds.connections_max {
            metrics.count_refused_connection("too-many");
            return None;
        }
        if let Some(address) = address {
            let of_address = open.by_address.entry(address).or_default();
            if *of_address >= bounds.connections_per_address_max {
                metrics.count_refused_connection("too-many-of-address");
                return None;
            }
            *of_address += 1;
        }
        open.total += 1;
        metrics.count_connection(1);
        Some(Place { connections: self.clone(), address })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total -= 1;
        self.connections.0.metrics.count_connection(-1);
        let Some(address) = self.address else { return };
        if let Some(of_address) = open.by_address.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}
