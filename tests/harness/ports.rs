//! Free TCP ports on the loopback address.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result};

/// Lowest port handed out.
const FIRST: u16 = 20_000;
/// Enough tries to be sure that the range is exhausted rather than that luck was bad.
const TRIES: usize = 1_000;

static HANDED_OUT: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port nobody listens on and that this process has not handed out before. It lies below the kernel's ephemeral
/// range, so that no outgoing connection can take it before its server binds it.
pub fn free() -> Result<u16> {
    let end = ephemeral_start().unwrap_or(32_768).max(FIRST + 1);
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES {
        let port = FIRST + u16::from_le_bytes(crate::paths::random()) % (end - FIRST);
        if !handed_out.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            handed_out.insert(port);
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {FIRST} and {end}")
}

fn ephemeral_start() -> Result<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    Ok(range.split_whitespace().next().context("empty")?.parse()?)
}
