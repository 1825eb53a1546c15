//! `cargo xtask stack`: a whole Aegis in the background, one per checkout, for tools outside this repository.
//!
//! A supervisor process of its own session owns every part; the commands here talk to it through a socket. When the
//! supervisor ends, however it ends, so does everything it started.

mod description;
mod supervisor;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use aegis_tests::paths::{self, state};
use aegis_tests::programs::Programs;
use aegis_tests::progress;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{cargo, install};

/// A command about the stack.
#[derive(Debug, Args)]
pub(crate) struct StackArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

/// What can be done with the stack.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start it and print how to reach its parts
    Start {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Take the binaries as they are
        #[arg(long, hide = true)]
        built: bool,
        #[command(flatten)]
        options: Options,
    },
    /// Start a part again on its old port and data; NAME is a key of `pids`
    Restart {
        /// Such as `controlPlane` or `postgres`
        name: String,
    },
    /// Print how to reach its parts
    Status,
    /// End all of it
    Stop,
    /// Own the parts (run by `start` in the background)
    #[command(hide = true)]
    Supervise {
        #[command(flatten)]
        options: Options,
    },
}

/// How the stack is to be made.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Control planes over one database
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    replicas: u8,
    /// How long a signed order may wait to be acted on
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=60))]
    order_lifetime_seconds: u32,
}

/// What is asked of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Question {
    Describe,
    Restart(String),
    Stop,
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Reply {
    Stack(Value),
    Stopped,
    Failed(String),
}

/// Where a stack is found. There is one per checkout; tests of these commands have one of another name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    #[arg(long = "instance", hide = true, global = true, default_value = "stack")]
    stem: String,
}

impl Place {
    /// Held by the supervisor for as long as it lives.
    fn lock(&self) -> Result<PathBuf> {
        Ok(state()?.join(format!("{}.lock", self.stem)))
    }

    fn socket(&self) -> Result<PathBuf> {
        Ok(state()?.join(format!("{}.sock", self.stem)))
    }

    fn log(&self) -> Result<PathBuf> {
        Ok(state()?.join(format!("{}.log", self.stem)))
    }

    fn is_taken(&self) -> Result<bool> {
        Ok(File::create(self.lock()?)?.try_lock().is_err())
    }
}

/// Runs one of the commands.
pub(crate) async fn run(StackArguments { command, place }: StackArguments) -> Result<()> {
    match command {
        Command::Start { json, built, options } => start(&place, json, built, &options).await,
        Command::Restart { name } => print(&describe(&place, &Question::Restart(name))?),
        Command::Status => print(&describe(&place, &Question::Describe)?),
        Command::Stop => stop(&place),
        Command::Supervise { options } => supervisor::run(&place, &options).await,
    }
}

async fn start(place: &Place, json: bool, built: bool, options: &Options) -> Result<()> {
    ensure!(
        !place.is_taken()?,
        "a stack of this checkout is running already; `cargo xtask stack stop` ends it"
    );
    install::programs(&["go"]).await?;
    install::postgres().await?;
    Programs::ready().await?;
    if !built {
        cargo::build_binaries()?;
    }

    let step = progress::step("starting the stack in the background");
    let mut supervisor = spawn_supervisor(place, options)?;
    let stack = loop {
        if let Some(status) = supervisor.try_wait()? {
            let log = std::fs::read_to_string(place.log()?).unwrap_or_default();
            bail!("the stack did not start ({status}):\n{log}");
        }
        if let Ok(stack) = describe(place, &Question::Describe) {
            break stack;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    step.done();
    if json { print(&stack) } else { print_summary(&stack) }
}

fn spawn_supervisor(place: &Place, options: &Options) -> Result<Child> {
    let log = File::create(place.log()?)?;
    // Not `current_exe`: the build before may just have replaced it, and the file of that name is gone.
    let spawned = std::process::Command::new(paths::binary("xtask")?)
        .args(["stack", "supervise", "--replicas", &options.replicas.to_string()])
        .args(["--instance", &place.stem])
        .args(["--order-lifetime-seconds", &options.order_lifetime_seconds.to_string()])
        .current_dir(paths::checkout())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    spawned.context("cannot start the supervisor")
}

fn stop(place: &Place) -> Result<()> {
    match ask(place, &Question::Stop)? {
        Reply::Stopped => {}
        Reply::Failed(message) => bail!("{message}"),
        Reply::Stack(_) => bail!("the supervisor answered something else"),
    }
    // The supervisor lets go of its lock as the last thing it does.
    File::create(place.lock()?)?.lock()?;
    eprintln!("✓ the stack has ended");
    Ok(())
}

fn describe(place: &Place, question: &Question) -> Result<Value> {
    match ask(place, question)? {
        Reply::Stack(stack) => Ok(stack),
        Reply::Failed(message) => bail!("{message}"),
        Reply::Stopped => bail!("the stack has ended"),
    }
}

/// One question, one line; one reply, one line.
fn ask(place: &Place, question: &Question) -> Result<Reply> {
    let absent = "no stack of this checkout is running; `cargo xtask stack start` starts one";
    let mut socket = UnixStream::connect(place.socket()?).context(absent)?;
    let mut line = serde_json::to_string(question)?;
    line.push('\n');
    socket.write_all(line.as_bytes())?;
    let mut reply = String::new();
    BufReader::new(socket).read_line(&mut reply)?;
    serde_json::from_str(&reply).context("the supervisor ended before it answered")
}

fn print(stack: &Value) -> Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(stack)?)?;
    Ok(())
}

fn print_summary(stack: &Value) -> Result<()> {
    let mut out = std::io::stdout();
    for (label, key) in [
        ("control plane", "controlPlane"),
        ("executor", "executor"),
        ("kubeconfig", "kubeconfig"),
        ("logs", "logs"),
    ] {
        writeln!(out, "{label:14} {}", stack[key].as_str().unwrap_or_default())?;
    }
    writeln!(out, "`cargo xtask stack status` prints the rest, secrets included; `stack stop` ends it")?;
    Ok(())
}
