//! A socket for the router: bounded in connections and in time, and polite when it goes.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceExt as _;

use self::patient::Patient;
use crate::{AppState, ServerConfig, router, state::gone};

mod patient;

/// Pause after the system refused a connection: most often it has no file descriptor left.
const BREATH: Duration = Duration::from_millis(200);

/// Serves until `shutdown` is ready; then takes no more connections, ends streams, and gives open
/// requests time to end.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let bounds = Bounds {
        connections: config.max_connections,
        head_time: config.head_time,
        write_time: config.write_time,
        drain_time: config.drain_time,
    };
    serve_router(listener, router(state.clone()), bounds, state.going(), shutdown).await
}

/// What one listener takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// At a time.
    pub(crate) connections: usize,
    /// For a request's head.
    pub(crate) head_time: Duration,
    /// A reader that takes nothing for so long is dropped.
    pub(crate) write_time: Duration,
    /// That open requests have to end.
    pub(crate) drain_time: Duration,
}

/// As [`serve`], for any router. `going` is told when no more connections are taken.
pub(crate) async fn serve_router(
    listener: TcpListener,
    app: Router,
    bounds: Bounds,
    going: &watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    listener.local_addr()?;
    loop {
        // A connection without a place waits in the system's queue.
        let next = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (socket, peer) = listener.accept().await?;
            Ok::<_, io::Error>((place, socket, peer))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((place, socket, peer)) => {
                let connection = connection(app.clone(), socket, peer, bounds, gone(going));
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection was not accepted"
                );
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    going.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.drain_time, all).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections were cut: their requests did not end in time"
        );
    }
    Ok(())
}

/// One connection, until it ends or the process goes.
async fn connection(app: Router, socket: TcpStream, peer: SocketAddr, bounds: Bounds, gone: impl Future<Output = ()>) {
    // Short answers go out at once.
    let _ = socket.set_nodelay(true);
    let service = app.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time)
        .max_buf_size(64 * 1024);
    let io = TokioIo::new(Patient::new(socket, bounds.write_time));
    let mut served = pin!(builder.serve_connection(io, TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = gone => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}
