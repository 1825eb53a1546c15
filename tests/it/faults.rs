//! Whatever breaks: nothing happens twice, nothing is lost, and everything goes on by itself.

mod capacity;
mod clocks;
