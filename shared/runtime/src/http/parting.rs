//! Ceasing to listen without turning anybody away who has already been let in by the kernel: a socket
//! that is closed resets the connections that wait to be accepted, with the requests on them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::shutdown::Shutdown;

/// How long a service that was asked to end goes on accepting: time for callers to be told to connect
/// elsewhere, and for load balancers to notice.
const PARTING_TIME: Duration = Duration::from_secs(1);

/// Accepts until some time after the shutdown, then takes those who already wait, and no more.
pub(super) struct Parting {
    address: SocketAddr,
    listening: Option<TcpListener>,
    /// Ends when it is time to close the socket.
    time: JoinHandle<()>,
    /// Who waited when the socket was closed.
    last: VecDeque<(TcpStream, SocketAddr)>,
    /// Dropped once all of them are served.
    parted: Option<oneshot::Sender<()>>,
}

impl Parting {
    /// The second part resolves when nobody is left to accept.
    pub(super) fn new(
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (sender, parted) = oneshot::channel();
        let address = listener.local_addr()?;
        let time = tokio::spawn(async move {
            shutdown.wait().await;
            tokio::time::sleep(PARTING_TIME).await;
        });
        let listening = Some(listener);
        Ok((Self { address, listening, time, last: VecDeque::new(), parted: Some(sender) }, parted))
    }
}

impl Listener for Parting {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if let Some(listener) = &mut self.listening {
            tokio::select! {
                connection = Listener::accept(listener) => return connection,
                _ = &mut self.time => {}
            }
            self.last = self.listening.take().map(close).unwrap_or_default();
        }
        match self.last.pop_front() {
            Some(connection) => connection,
            None => {
                self.parted = None;
                std::future::pending().await
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Closes the socket as soon as nobody waits at it, and returns who did. Asks the kernel itself, since
/// the runtime may not have heard yet of the newest.
fn close(listener: TcpListener) -> VecDeque<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return VecDeque::new() };
    let waiting = std::iter::from_fn(|| listener.accept().ok());
    let connections = waiting.filter_map(|(stream, address)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, address))
    });
    connections.collect()
}
