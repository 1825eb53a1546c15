//! Where things lie: the checkout, the binaries built from it, the cache outside the work tree, and the
//! folder for everything a run writes.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// The root of the checkout this harness was compiled in.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies inside the checkout")
}

/// The folder of one environment variable, where it is set and absolute.
fn folder_from_environment(name: &str) -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the user's cache folder is named by the environment alone"
    )]
    let value = std::env::var_os(name)?;
    let path = PathBuf::from(value);
    path.is_absolute().then_some(path)
}

/// The cache outside the work tree, created when absent: it survives checkouts and holds only what can be rebuilt.
pub fn cache() -> Result<PathBuf> {
    let base = folder_from_environment("XDG_CACHE_HOME")
        .or_else(|| folder_from_environment("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME names a folder to cache builds in")?;
    let cache = base.join("aegis");
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    Ok(cache)
}

/// The folder of everything that runs started from this checkout write. It lies outside the checkout because a
/// database server that refuses to run as root must be able to enter it as another user.
pub fn state() -> Result<PathBuf> {
    let uid = nix::unistd::Uid::effective().as_raw();
    let checkout_hash = hex(&Sha256::digest(checkout().as_os_str().as_encoded_bytes())[..6]);
    let folder = Path::new("/var/tmp").join(format!("aegis-{uid}-{checkout_hash}"));
    create_passable(&folder)?;
    let found = fs::symlink_metadata(&folder)?;
    // /var/tmp belongs to everybody: somebody else's folder or link of that name must not be trusted with secrets.
    ensure!(found.is_dir() && found.uid() == uid, "{} exists and is not ours", folder.display());
    Ok(folder)
}

/// Creates a folder that others may pass through but not list.
pub(crate) fn create_passable(folder: &Path) -> Result<()> {
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// Creates a folder only we may enter.
pub(crate) fn create_private(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes a file only we may read.
pub fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content.as_ref())?;
    Ok(())
}

/// A binary of this workspace, from the same target folder as the running executable.
pub fn binary(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let mut folder = exe.parent().context("the running executable has no folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("deps has no parent")?;
    }
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is not built: run `cargo build --workspace` first", path.display());
    Ok(path)
}

/// The folder of one run. It is removed when the run ends; if its owner was killed, by the next run that starts.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held for as long as the owner lives; the kernel lets go of it however the owner ends.
    _lock: File,
}

impl RunFolder {
    /// Creates a folder of its own for this run and removes those whose owners are gone.
    pub fn create(kind: &str) -> Result<Self> {
        // Threads of one process share the file lock's owner, so they need a lock of their own.
        static WITHIN_PROCESS: Mutex<()> = Mutex::new(());
        let _within_process = WITHIN_PROCESS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let runs = state()?.join("runs");
        create_passable(&runs)?;
        let between_processes = File::create(runs.join("all.lock"))?;
        between_processes.lock()?;
        remove_abandoned(&runs)?;

        let name = format!("{kind}-{}", random_name(8));
        let path = runs.join(&name);
        let lock_path = runs.join(format!("{name}.lock"));
        let lock = File::create(&lock_path)?;
        lock.lock()?;
        create_passable(&path)?;
        Ok(Self { path, lock_path, _lock: lock })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // After a panic the logs are what one wants to read; the next run removes them.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.path);
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

/// Removes the folders whose lock nobody holds any more. The caller holds the lock over all runs.
fn remove_abandoned(runs: &Path) -> Result<()> {
    for entry in fs::read_dir(runs)? {
        let lock_path = entry?.path();
        let is_run = lock_path.extension().is_some_and(|extension| extension == "lock")
            && lock_path.file_name().is_some_and(|name| name != "all.lock");
        // An owner that ends meanwhile removes both by itself.
        if is_run && File::open(&lock_path).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let folder = lock_path.with_extension("");
            if folder.exists() {
                fs::remove_dir_all(&folder)
                    .with_context(|| format!("cannot remove the abandoned {}", folder.display()))?;
            }
            let removed = fs::remove_file(&lock_path);
            if let Err(error) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Random bytes from the operating system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random name of lower-case hexadecimal digits, at most 32.
#[must_use]
pub fn random_name(length: usize) -> String {
    hex(&random::<16>())[..length].to_owned()
}
