//! A wrong clock for one process, by libfaketime: nothing in the binaries knows of it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths::{RunFolder, write_private};
use crate::process::is_alive;

/// A clock that a test sets. A process started with its settings lives by it until it ends.
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    folder: RunFolder,
}

impl FakeClock {
    /// A clock that is right so far; an error if libfaketime is not installed.
    pub fn new() -> Result<Self> {
        let library = find_library().context(
            "libfaketime is not installed: `apt-get install libfaketime` (Debian, Ubuntu), \
             `dnf install libfaketime` (Fedora), or `cargo xtask test` as root, which installs it",
        )?;
        forget_the_dead();
        let clock = Self { library, folder: RunFolder::create("clock")? };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Puts the clock this far ahead, such as `+3` or `-3`, in seconds.
    pub fn set(&self, offset: &str) -> Result<()> {
        // Renamed into its place: a reader in between would find half a file.
        let next = self.folder.path().join("next");
        write_private(&next, offset)?;
        Ok(fs::rename(next, self.file())?)
    }

    /// The settings of a process that is to live by this clock. Time that is only measured goes on as ever.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

/// Removes what libfaketime has left in shared memory for processes that were killed.
fn forget_the_dead() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|start| name.strip_prefix(start));
        if pid.and_then(|pid| pid.parse().ok()).is_some_and(|pid| !is_alive(pid)) {
            // Another test may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether libfaketime is installed.
#[must_use]
pub fn is_installed() -> bool {
    find_library().is_some()
}

fn find_library() -> Option<PathBuf> {
    let below = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    // Debian keeps libraries in a folder per architecture.
    ["/usr/lib", "/usr/lib64"]
        .into_iter()
        .flat_map(|folder| below(folder).chain([PathBuf::from(folder)]))
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
}
