//! The live page of `run --http`: a small web server in a thread of its own.
//!
//! It reads the slots of [`Live`] and changes nothing. Every reader has bounded room: one connection of a limited number,
//! one head of limited size, one answer of which the system holds a limited part; whoever does not read is dropped.

mod access;
mod answers;
mod connection;
mod metrics;
mod numbers;
mod server;
mod stream;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpSocket;

use crate::output::failure::{Failure, OrInput as _, wrong};

use access::Access;
pub(crate) use server::Server;

/// Who may look at the loop.
#[derive(Args)]
#[command(next_help_heading = "Live page")]
pub(crate) struct HttpArgs {
    /// Serve a live page at this address, such as 127.0.0.1:8080, or a port alone for this machine only: picture, answers,
    /// battery, events; also /api/state, /api/events, /api/plan, /snapshot.jpg, /metrics and /healthz. See docs/live.md
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    http: Option<SocketAddr>,
    /// Serve the page to whoever knows the token in this file; needed for other addresses than 127.0.0.1
    #[arg(long, value_name = "FILE", requires = "http")]
    http_token_file: Option<PathBuf>,
    /// Serve the page to everybody who reaches the address
    #[arg(long, requires = "http", conflicts_with = "http_token_file")]
    http_open: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:8080, or a port".to_owned())
}

impl HttpArgs {
    /// Whether there is to be a page.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.http.is_some()
    }

    /// Whether the page is for other machines, too.
    pub(crate) fn is_for_others(&self) -> bool {
        self.http.is_some_and(|address| !address.ip().is_loopback())
    }

    /// Takes the address, so that one in use is told before the loop begins; none where no page is asked for.
    pub(crate) fn bind(&self) -> Result<Option<Bound>, Failure> {
        let Some(address) = self.http else { return Ok(None) };
        let token = match &self.http_token_file {
            Some(path) => Some(access::read_token(path).or_input()?),
            None if self.http_open || address.ip().is_loopback() => None,
            None => {
                return wrong(format!(
                    "--http {address} can be reached from other machines: it needs --http-token-file, or --http-open if \
                     everybody may look"
                ));
            }
        };
        let socket = take(address).with_context(|| format!("--http {address}")).or_input()?;
        Ok(Some(Bound { socket, access: Access::new(token, address.ip().is_loopback() && !self.http_open) }))
    }
}

/// Takes an address. What a slow reader leaves lying in the system is small, as its connections inherit.
fn take(address: SocketAddr) -> std::io::Result<TcpSocket> {
    /// Room for the largest of usual pictures, so that one write sends it.
    const SEND_BYTES: u32 = 64 << 10;
    // A plain bind first: two programs may both take an address that neither listens at yet.
    drop(std::net::TcpListener::bind(address)?);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BYTES)?;
    socket.bind(address)?;
    Ok(socket)
}

/// An address that is taken, and who may use it.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpSocket,
    access: Access,
}

#[cfg(test)]
mod argument_tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_this_machine_only() {
        assert_eq!(address("8080").unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(address("[::]:80").unwrap().to_string(), "[::]:80");
        assert!(address("localhost").is_err() && address("70000").is_err());
    }
}
