//! Memory of a process, as the kernel counts it.

use anyhow::{Context, Result};

/// Memory of one process, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Held now.
    pub now: f64,
    /// The most that was ever held.
    pub peak: f64,
}

impl Resident {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self { now: mebibytes(&status, "VmRSS:")?, peak: mebibytes(&status, "VmHWM:")? })
    }
}

fn mebibytes(status: &str, field: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix("kB")).map(str::trim);
    Ok(kibibytes.with_context(|| format!("no {field} in the status of a process"))?.parse::<f64>()? / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_table() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(mebibytes(status, "VmRSS:").unwrap(), 10.0);
        assert_eq!(mebibytes(status, "VmHWM:").unwrap(), 20.0);
        mebibytes(status, "VmSwap:").unwrap_err();
    }
}
