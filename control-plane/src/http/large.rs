//! Turns at requests that may hold whole policies, 16 MiB each. A signed one is proven only when its body is there, so
//! it takes its turn apart from those of people, who are proven before: strangers cannot keep them from their turns.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_contract::http_signature::SIGNATURE;
use aegis_contract::strict::Limits;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::CONTENT_LENGTH;

use super::error::Failure;
use super::throttle::Gate;
use crate::error::Error;

/// Requests at once.
const TURNS_MAX: usize = 8;
/// Of one address.
const TURNS_PER_ADDRESS_MAX: usize = 4;

/// Those that have a turn.
#[derive(Clone, Default)]
pub(super) struct Turns {
    signed: Pool,
    others: Pool,
}

/// How many of each address.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Turn {
    pool: Pool,
    address: IpAddr,
}

impl Pool {
    fn take(&self, address: IpAddr) -> Option<Turn> {
        let mut taken = self.taken();
        let of_address = taken.get(&address).copied().unwrap_or_default();
        if taken.values().sum::<usize>() >= TURNS_MAX || of_address >= TURNS_PER_ADDRESS_MAX {
            return None;
        }
        taken.insert(address, of_address + 1);
        Some(Turn { pool: self.clone(), address })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.pool.taken();
        if let Some(of_address) = taken.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// Whether a body may be larger than those of other routes: it says so, or does not say how large it is.
fn is_large(request: &Request) -> bool {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    request.method() != Method::GET && length.is_none_or(|length: usize| length > Limits::WIRE.bytes_max)
}

/// Works on a request that may hold much, unless enough others do.
pub(super) async fn one_of_few(State(turns): State<Turns>, request: Request, next: Next) -> Response {
    if !is_large(&request) {
        return next.run(request).await;
    }
    let address = match Gate::of(&request) {
        Ok(gate) => gate.neighbourhood(),
        Err(failure) => return failure.into_response(),
    };
    let pool = if request.headers().contains_key(SIGNATURE) { turns.signed } else { turns.others };
    match pool.take(address) {
        Some(_turn) => next.run(request).await,
        None => Failure::from(Error::Busy).into_response(),
    }
}
