//! The socket: connections in, each with its time limits, and an end in good order.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::models::Models;
use super::{App, Config, Listening, routes};
use crate::error::{Error, Result};

/// Connections at once; more wait in the system's queue.
const MOST_CONNECTIONS: usize = 1024;
/// How long a client may take over its headers, or leave a connection idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(75);
/// How long a client may take over each piece of an answer.
const READS_WITHIN: Duration = Duration::from_secs(60);
/// How long cancelled requests have for their last words.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often workers are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Serves until the process is told to stop (SIGTERM, Ctrl-C): then nothing more is taken, requests are
/// finished or, after the grace, cancelled. `listening` is told the address once connections are taken.
///
/// # Errors
/// [`Error::Listen`] where the address cannot be had.
pub fn serve(
    address: &str,
    models: Models,
    config: Config,
    listening: Listening<'_>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Thread)?;
    let app = App::new(models, config);
    let served = runtime.block_on(async {
        let refused = |source| Error::Listen {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        listening(listener.local_addr().map_err(refused)?);
        serve_on(listener, &app, told_to_stop).await;
        Ok(())
    });
    // Threads whose work was cancelled end at its next step.
    runtime.shutdown_timeout(LAST_WORDS);
    served
}

async fn told_to_stop() {
    let interrupt = signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminate = signal::unix::signal(signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}

/// Serves until it is told to stop, and then to the end of what runs, or to the end of the grace; being
/// told once more ends the grace.
async fn serve_on<F: Future<Output = ()>>(
    listener: TcpListener,
    app: &Arc<App>,
    told_to_stop: impl Fn() -> F,
) {
    let router = routes::router(app);
    let (graceful, room) = (
        GracefulShutdown::new(),
        Arc::new(Semaphore::new(MOST_CONNECTIONS)),
    );
    let watch = tokio::spawn(watch(app.clone()));
    let mut stop = pin!(told_to_stop());
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        tokio::select! {
            () = &mut stop => break,
            accepted = next => match accepted {
                Some((Ok((stream, _)), place)) => {
                    tokio::spawn(connection(stream, router.clone(), graceful.watcher(), place));
                }
                // Out of file handles, say: others will be given back.
                _ => sleep(Duration::from_millis(50)).await,
            },
        }
    }
    drop(listener);
    watch.abort();
    tracing::info!("stopping");
    let mut ended = pin!(graceful.shutdown());
    let is_over = tokio::select! {
        () = &mut ended => true,
        () = sleep(app.config.grace) => false,
        () = told_to_stop() => false,
    };
    app.cancel.cancel();
    if !is_over {
        let _ = timeout(LAST_WORDS, ended).await;
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    watcher: Watcher,
    place: OwnedSemaphorePermit,
) {
    // Small messages of a stream go out at once.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(READS_WITHIN));
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
    // A client that goes away in the middle is no concern of the others.
    let _ = watcher.watch(connection).await;
    drop(place);
}

/// Replaces workers that have died, and unloads models that nobody uses.
async fn watch(app: Arc<App>) {
    let mut ticks = interval(WATCH_EVERY);
    loop {
        ticks.tick().await;
        let app = app.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for (name, model) in app.models.speech() {
                if let Err(error) = model.watch(app.config.idle_unload) {
                    tracing::error!(model = name, %error, "the model cannot be loaded anew");
                }
            }
        });
        let _ = looked.await;
    }
}
