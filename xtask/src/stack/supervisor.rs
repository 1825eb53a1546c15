//! The process that owns a background stack: it starts the parts, answers questions, and ends with all of them.

use std::fs::File;
use std::sync::Arc;

use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::database::Server;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use super::description::Description;
use super::{Options, Place, Question, Reply};

/// Starts everything, then serves questions until one of them, or a signal, says to stop.
pub(super) async fn run(place: &Place, options: &Options) -> Result<()> {
    // A session of its own: a Ctrl-C or a closed terminal of whoever started it is none for the stack.
    nix::unistd::setsid().context("the supervisor is started by `cargo xtask stack start`")?;
    let lock = File::create(place.lock()?)?;
    lock.try_lock().context("a stack of this checkout is running already")?;

    let (cluster, server) = tokio::try_join!(Cluster::start(ClusterOptions::default()), Server::start())?;
    let (cluster, server) = (Arc::new(cluster), Arc::new(server));
    let stack_options = StackOptions {
        control_planes: usize::from(options.replicas),
        namespaces: vec!["shop".to_owned(), "bank".to_owned()],
        unique_namespaces: false,
        order_lifetime_seconds: options.order_lifetime_seconds,
        ..StackOptions::default()
    };
    let stack = Stack::start_on(cluster, server, stack_options).await?;
    let mut description = Description::of(stack)?;

    let socket = place.socket()?;
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let asker = loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut asker, _) = accepted?;
                if serve(&mut asker, &mut description).await.is_ok_and(|is_stop| is_stop) {
                    break Some(asker);
                }
            }
            _ = terminated.recv() => break None,
        }
    };
    let _ = std::fs::remove_file(&socket);
    drop(description);
    if let Some(mut asker) = asker {
        reply(&mut asker, &Reply::Stopped).await?;
    }
    Ok(())
}

/// Answers one question; tells whether it was to stop, which is answered when everything has ended.
async fn serve(asker: &mut UnixStream, description: &mut Description) -> Result<bool> {
    let mut line = String::new();
    BufReader::new(&mut *asker).read_line(&mut line).await?;
    let answered = match serde_json::from_str(&line)? {
        Question::Stop => return Ok(true),
        Question::Describe => description.describe().await,
        Question::Restart(name) => match description.restart(&name).await {
            Ok(()) => description.describe().await,
            Err(error) => Err(error),
        },
    };
    let answer = answered.map_or_else(|error| Reply::Failed(format!("{error:#}")), Reply::Stack);
    reply(asker, &answer).await?;
    Ok(false)
}

async fn reply(asker: &mut UnixStream, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    asker.write_all(&line).await?;
    Ok(())
}
