//! Actions from the signed request to the outcome, each told three times: by the objects at the API server, by the
//! control plane's own log, and by the API server's audit log. The three must agree.

mod acting;
mod cancelling;
mod failing;
mod planning;
mod refusing;
mod returning;
pub(crate) mod scene;
