//! Background work. An engine is idempotent, takes no input, and runs periodically and when nudged;
//! what it takes on it leases through Postgres, so that replicas share the work and take over.

pub mod dispatch;
pub mod filing;
pub mod follow;
pub mod mails;
pub mod mirrors;
pub mod safeguards;
pub mod secrets;
pub mod sequencer;
pub mod webhooks;
