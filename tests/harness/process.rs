//! Child processes that end with their owner, however the owner ends.
//!
//! Every child asks the kernel for SIGKILL at its parent's death. The kernel counts the death of the *thread* that
//! spawned it, so one thread that lives as long as the process spawns them all. Children inherit nothing from the
//! environment unless they ask for it: an ambient `KUBECONFIG` or `DATABASE_URL` never reaches them.

mod launch;
mod resident;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use self::launch::Launch;
pub use self::resident::Resident;

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns on the one thread that lives as long as this process.
fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let owner = Pid::this();
    let die_with_owner = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The owner may have died before the line above; then nobody will send the signal.
        if Pid::parent() == owner { Ok(()) } else { Err(io::Error::from(io::ErrorKind::BrokenPipe)) }
    };
    command.process_group(0);
    #[expect(unsafe_code, reason = "the closure makes two system calls and allocates nothing")]
    // SAFETY: prctl and getppid are async-signal-safe, and no memory is allocated between fork and exec.
    unsafe {
        command.pre_exec(die_with_owner);
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, answered) = mpsc::channel();
    let gone = || io::Error::other("the spawning thread is gone");
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

/// A process that should run has ended: waiting for it longer is useless.
#[derive(Debug, thiserror::Error)]
#[error("{name} has ended:\n{log_tail}")]
pub struct Ended {
    name: String,
    log_tail: String,
}

/// A running child with its log. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    launch: Mutex<Launch>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Starts a process that appends what it prints to `log`.
    pub fn start(name: &str, launch: Launch, log: &Path) -> Result<Self> {
        let process = Self::prepare(name, launch, log);
        process.start_again()?;
        Ok(process)
    }

    /// Describes a process that `start_again` will start.
    #[must_use]
    pub fn prepare(name: &str, launch: Launch, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            launch: Mutex::new(launch),
            log: log.to_owned(),
            child: Mutex::new(None),
        }
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it with the same command line; an error if it still runs.
    pub fn start_again(&self) -> Result<()> {
        let mut child = self.child();
        if let Some(running) = child.as_mut() {
            ensure!(running.try_wait()?.is_some(), "{} still runs", self.name);
        }
        let log = open_log(&self.log)?;
        let mut command = self.launch.lock().unwrap_or_else(PoisonError::into_inner).command();
        command.stdout(log.try_clone()?).stderr(log);
        *child = Some(spawn(command).with_context(|| format!("cannot start {}", self.name))?);
        Ok(())
    }

    /// Its process id while it runs, also when stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let mut child = self.child();
        let running = child.as_mut()?;
        matches!(running.try_wait(), Ok(None)).then(|| running.id())
    }

    /// Fails with the end of the log if the process has ended.
    pub fn ensure_running(&self) -> Result<()> {
        if self.pid().is_some() {
            return Ok(());
        }
        Err(Ended { name: self.name.clone(), log_tail: self.log_tail(15) }.into())
    }

    /// How much memory it holds; an error if it has ended.
    pub fn resident(&self) -> Result<Resident> {
        Resident::of(self.pid().with_context(|| format!("{} has ended", self.name))?)
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// SIGKILL to it and everything it started; returns when it is gone. Nothing happens if it has ended.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        let Some(running) = child.as_mut() else { return Ok(()) };
        if running.try_wait()?.is_none() {
            let family = signal_family(running.id(), Signal::SIGKILL)?;
            running.wait()?;
            wait_until_gone(&family);
        }
        Ok(())
    }

    /// SIGSTOP: it keeps its memory and its connections and does nothing.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: it goes on where it was stopped.
    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        signal_family(pid, signal)?;
        Ok(())
    }

    /// SIGTERM; an error unless it ends by itself in time.
    pub async fn end(&self, within: Duration) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        crate::eventually::until(&format!("{} ending", self.name), within, async || Ok(self.pid().is_none()))
            .await
    }

    /// SIGTERM, then SIGKILL if it has not ended in time.
    pub async fn terminate(&self, within: Duration) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let pid = Pid::from_raw(i32::try_from(pid)?);
        kill(pid, Signal::SIGCONT)?;
        kill(pid, Signal::SIGTERM)?;
        let deadline = Instant::now() + within;
        while self.pid().is_some() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill()
    }

    /// SIGKILL, then another command line in its place, now and whenever it is started again.
    pub fn replace(&self, launch: Launch) -> Result<()> {
        self.kill()?;
        *self.launch.lock().unwrap_or_else(PoisonError::into_inner) = launch;
        self.start_again()
    }

    /// SIGKILL, then the same command line again.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.start_again()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn open_log(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("cannot write {}", path.display()))
}

/// Waits for processes that are not our own children, so that nobody else tells us of their end.
fn wait_until_gone(pids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while pids.iter().any(|pid| is_alive(*pid)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process exists and has not ended; one that only waits to be collected by its parent has ended.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Signals a process and its descendants, and returns the descendants. PostgreSQL puts each backend into a group of
/// its own, so a signal to the group would miss them.
fn signal_family(pid: u32, signal: Signal) -> Result<Vec<u32>> {
    let send = |pid: u32, signal| match kill(Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    };
    if signal != Signal::SIGCONT {
        // A server that goes on forking while its children are looked for would leave one behind.
        send(pid, Signal::SIGSTOP)?;
    }
    let descendants = descendants(pid);
    send(pid, signal)?;
    descendants.iter().try_for_each(|descendant| send(*descendant, signal))?;
    Ok(descendants)
}

/// The processes below one, nearest first.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children_of: std::collections::HashMap<u32, Vec<u32>> = std::collections::HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent_of(child) {
            children_of.entry(parent).or_default().push(child);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        for child in children_of.remove(&parent).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
