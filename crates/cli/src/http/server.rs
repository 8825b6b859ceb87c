//! The server's thread: connections, as many as there is room for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::Bound;
use super::answers::Answers;
use super::connection::{Connection, PATIENCE};
use crate::live::{Facts, Live};

/// Connections at once; more are closed as they come.
const CONNECTIONS: usize = 256;
/// Connections that wait to be taken.
const BACKLOG: u32 = 128;
/// Bytes of a request's head, and headers in it.
const HEAD_BYTES: usize = 8192;
const HEADERS: usize = 64;
/// How long a head may take to come, and a connection to be idle.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Pause after a failed accept: no file descriptor is free, for instance.
const NO_ACCEPT: Duration = Duration::from_millis(200);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Server {
    /// Serves what `live` shows, until it is dropped.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn start(bound: Bound, live: Arc<Live>, facts: Facts, health: fn() -> Vec<u8>) -> std::io::Result<Self> {
        let Bound { socket, access } = bound;
        let answers = Arc::new(Answers::new(live, facts, access, health));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(1)
            .thread_keep_alive(Duration::from_secs(1))
            .build()?;
        let listener = {
            let _in_runtime = runtime.enter();
            socket.listen(BACKLOG)?
        };
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(async {
                let server = tokio::spawn(accept(listener, answers));
                // Told or dropped, either ends it.
                let _ = stopped.await;
                server.abort();
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It waits for nobody: connections are cut.
            let _ = thread.join();
        }
    }
}

/// Takes connections for ever.
async fn accept(listener: TcpListener, answers: Arc<Answers>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::debug!("no connection: {error}");
                tokio::time::sleep(NO_ACCEPT).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else { continue };
        let answers = answers.clone();
        tokio::spawn(async move {
            serve(stream, answers).await;
            drop(place);
        });
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(Connection::new(stream, PATIENCE), service)
        .await;
    if let Err(error) = served {
        log::debug!("a connection ended: {error}");
    }
}
