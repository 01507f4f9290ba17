//! The web: REST API, webhooks, sign-in, websocket and the page. It holds no credential: it reads the read model
//! built from the bus, and asks by message for everything that changes something.
mod auth;
mod errors;
mod healths;
mod projects;
mod readmodel;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpServer, web};
use tako_bus::Bus;
use tokio::runtime::Handle;

pub use errors::WebError;

use crate::auth::Sessions;
use crate::readmodel::ReadModel;

/// Threads that serve HTTP.
const WORKERS: usize = 2;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where and for what.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Address; port 0 for any.
    pub listen: SocketAddr,
    /// The namespace of Applications that name none.
    pub control_namespace: String,
}

/// What handlers share.
pub(crate) struct State {
    pub(crate) bus: Bus,
    pub(crate) model: ReadModel,
    pub(crate) sessions: Sessions,
    pub(crate) control_namespace: String,
    /// The I/O pool: the bus must not be used from actix's own workers (research/deps.md section 1).
    pub(crate) pool: Handle,
    pub(crate) webhooks: routes::Webhooks,
}

impl State {
    /// Runs a use of the bus on the I/O pool.
    pub(crate) async fn on_pool<F>(&self, future: F) -> Result<F::Output, WebError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.pool
            .spawn(future)
            .await
            .map_err(|_| WebError::Unavailable("the request was given up; try again".to_owned()))
    }
}

/// A running server.
pub struct ServerHandle {
    address: SocketAddr,
    handle: actix_web::dev::ServerHandle,
}

impl ServerHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops it; requests in hand are finished.
    pub async fn stop(self) {
        self.handle.stop(true).await;
    }
}

/// Serves. To be called on the I/O pool.
pub async fn serve(config: WebConfig, bus: Bus) -> Result<ServerHandle, WebError> {
    let model = ReadModel::start(&bus);
    let state = web::Data::from(Arc::new(State {
        sessions: Sessions::new(bus.clone()),
        bus,
        model,
        control_namespace: config.control_namespace,
        pool: Handle::current(),
        webhooks: routes::Webhooks::default(),
    }));
    let (tell, told) = tokio::sync::oneshot::channel();
    // actix-web wants a thread of its own that runs its System.
    std::thread::Builder::new()
        .name("web".to_owned())
        .spawn(move || {
            let system = actix_web::rt::System::new();
            system.block_on(async move {
                let factory = move || App::new().app_data(state.clone()).wrap(headers()).configure(routes::configure);
                let bound = HttpServer::new(factory)
                    .workers(WORKERS)
                    .client_request_timeout(REQUEST_TIMEOUT)
                    .disable_signals()
                    .shutdown_timeout(2)
                    .bind(config.listen);
                match bound {
                    Ok(server) => {
                        let address = server.addrs().first().copied().unwrap_or(config.listen);
                        let server = server.run();
                        let _ = tell.send(Ok((address, server.handle())));
                        if let Err(error) = server.await {
                            tracing::error!(%error, "the web server ended");
                        }
                    }
                    Err(error) => {
                        let _ = tell
                            .send(Err(format!("cannot listen on {}: {error}; choose another --listen", config.listen)));
                    }
                }
            });
        })
        .map_err(|error| WebError::Unavailable(error.to_string()))?;
    match told.await {
        Ok(Ok((address, handle))) => Ok(ServerHandle { address, handle }),
        Ok(Err(message)) => Err(WebError::Unavailable(message)),
        Err(_) => Err(WebError::Unavailable("the web server did not start".to_owned())),
    }
}

fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((
            "Content-Security-Policy",
            "default-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
        ))
        .add(("X-Frame-Options", "DENY"))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("Referrer-Policy", "no-referrer"))
}
