//! A bare connection to a service, for callers that do not keep to what HTTP clients do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longest wait for something that the other side does within its own bounds; a busy machine is given much more.
const WITHIN: Duration = Duration::from_secs(60);
/// Bytes read at once.
const PIECE: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// What came and was not looked at yet.
    read: Vec<u8>,
}

impl Wire {
    /// Connects to a service from one of this machine's loopback addresses, 127.0.0.`last`.
    pub async fn connect(base_url: &str, last: u8) -> Result<Self> {
        let to: SocketAddr = base_url.trim_start_matches("http://").parse()?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0))?;
        let stream = timeout(WITHIN, socket.connect(to)).await.context("no connection in time")??;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends some bytes; an error when the other side has ended the connection.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(text.as_bytes()).await?)
    }

    /// Reads the next answer whole, and returns its status and its body.
    pub async fn answer(&mut self) -> Result<(u16, String)> {
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(answer);
            }
            if !self.read_more().await? {
                bail!("the connection ended after: {}", String::from_utf8_lossy(&self.read));
            }
        }
    }

    /// Reads as far as the head of the next answer goes, and returns that.
    pub async fn head(&mut self) -> Result<String> {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                return Ok(format!("{head}\r\n\r\n"));
            }
            if !self.read_more().await? {
                bail!("the connection ended after: {text}");
            }
        }
    }

    /// Returns once the other side has ended the connection; whatever it sends before is thrown away.
    pub async fn ended(&mut self) -> Result<()> {
        while self.read_more().await? {
            self.read.clear();
        }
        Ok(())
    }

    fn take_answer(&mut self) -> Result<Option<(u16, String)>> {
        let text = String::from_utf8_lossy(&self.read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        let Some(body) = body.get(..length) else { return Ok(None) };
        let answer = (status, body.to_owned());
        self.read.drain(..head.len() + 4 + length);
        Ok(Some(answer))
    }

    /// Whether anything came before the end. A connection that was reset has ended too.
    async fn read_more(&mut self) -> Result<bool> {
        let mut piece = vec![0; PIECE];
        match timeout(WITHIN, self.stream.read(&mut piece))
            .await
            .context("neither bytes nor an end in time")?
        {
            Ok(0) | Err(_) => Ok(false),
            Ok(count) => {
                self.read.extend(&piece[..count]);
                Ok(true)
            }
        }
    }
}
