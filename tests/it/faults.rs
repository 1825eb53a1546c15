//! Whatever breaks: nothing happens twice, nothing is lost, and everything goes on by itself.

mod api_server;
mod capacity;
mod clocks;
mod killing;
mod ledgers;
mod rolling;
