//! What to start and how, and programs that run to their end.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, ensure};

use super::spawn;

/// What to start and how; kept so that it can be started again.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    inherits_environment: bool,
    folder: Option<PathBuf>,
    user: Option<(u32, u32)>,
}

impl Launch {
    /// Starts describing a command line.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: Vec::new(),
            inherits_environment: false,
            folder: None,
            user: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets the child see our own environment, for build tools. `KUBECONFIG` is taken out even then.
    #[must_use]
    pub fn inherit_environment(mut self) -> Self {
        self.inherits_environment = true;
        self
    }

    /// The working folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The user and group to run as, if not ours.
    #[must_use]
    pub fn user(mut self, user: Option<(u32, u32)>) -> Self {
        self.user = user;
        self
    }

    /// The name of the program, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null());
        if self.inherits_environment {
            command.env_remove("KUBECONFIG");
        } else {
            command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Runs to the end with the given standard input and returns what it printed, whatever its exit code.
    pub async fn output_with(&self, input: impl Into<Vec<u8>>) -> Result<Output> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).with_context(|| format!("cannot start {}", self.program.display()))?;
        let input = input.into();
        let waiting = tokio::task::spawn_blocking(move || {
            if let Some(mut stdin) = child.stdin.take() {
                // A program that ends without reading its input has said why on its standard error.
                let _ = stdin.write_all(&input);
            }
            child.wait_with_output()
        });
        Ok(waiting.await??)
    }

    /// Runs to the end; anything but exit code 0 is an error that quotes what the program said.
    pub async fn output(&self) -> Result<String> {
        let output = self.output_with(Vec::new()).await?;
        self.expect_success(&output)
    }

    /// The standard output of a run that succeeded, or an error that quotes what the program said.
    pub fn expect_success(&self, output: &Output) -> Result<String> {
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} ended with {}: {}", self.name(), output.status, said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs to the end and hands each line of its standard error to `on_line`; the error quotes the last lines.
    pub async fn run_with_lines(&self, mut on_line: impl FnMut(&str) + Send + 'static) -> Result<()> {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn(command).with_context(|| format!("cannot start {}", self.program.display()))?;
        let waiting = tokio::task::spawn_blocking(move || -> Result<(ExitStatus, Vec<String>)> {
            let mut last = Vec::new();
            let stderr = child.stderr.take().context("no standard error")?;
            for line in BufReader::new(stderr).lines() {
                let line = line?;
                on_line(&line);
                last.push(line);
                if last.len() > 20 {
                    last.remove(0);
                }
            }
            Ok((child.wait()?, last))
        });
        let (status, last) = waiting.await??;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.name(), last.join("\n"));
        Ok(())
    }
}
