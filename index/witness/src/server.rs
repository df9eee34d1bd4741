//! The witness as an HTTP server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::RETRY_AFTER;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use cairn_proof::witness::{AddCheckpoint, Answer, LONGEST_REQUEST, Witness};
use cairn_proof::{Origin, SigningKey, WitnessKey};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limit::Limiter;
use crate::pages;

/// A witness that has its port.
pub struct Server {
    address: SocketAddr,
    server: actix_web::dev::Server,
}

/// What the handlers share.
pub(crate) struct State {
    pub(crate) witness: Arc<Witness>,
    pub(crate) origins: Vec<String>,
    limiter: Limiter,
    behind_proxy: bool,
    /// One for each request that may wait for the disk.
    places: Semaphore,
}

/// Makes a new witness: its key file and its state directory, neither of which may be there. Returns the key that those
/// who rely on it need.
pub fn init(config: &Config) -> Result<WitnessKey> {
    let name = config.origin()?;
    config.keys()?;
    if config.key_file.exists() {
        return Err(Error::KeyExists(config.key_file.clone()));
    }
    let key = SigningKey::generate()?;
    Witness::init(&config.state_dir, &name, &key)?;
    key.save(&config.key_file)?;
    Ok(WitnessKey::of(&name, &key))
}

/// Serves until the process is told to end (SIGINT, SIGTERM).
pub async fn run(config: Config) -> Result<()> {
    Server::bind(&config)?.run().await
}

impl Server {
    /// Opens the state, which no other process may have, and the port.
    pub fn bind(config: &Config) -> Result<Server> {
        let (name, keys) = (config.origin()?, config.keys()?);
        let key = SigningKey::load(&config.key_file)?;
        let witness = Arc::new(Witness::open(&config.state_dir, name, key, &keys)?);
        let state = web::Data::new(State {
            witness,
            origins: config.logs.iter().map(|log| log.origin.clone()).collect(),
            limiter: Limiter::new(&config.limits),
            behind_proxy: config.limits.behind_proxy,
            places: Semaphore::new(config.limits.waiting),
        });
        let (prefix, listen) = (config.prefix.clone(), config.listen);
        let failed = |source| Error::Serve { listen: listen.to_string(), source };
        let server = HttpServer::new(move || {
            let submit = web::resource(format!("{prefix}/add-checkpoint"))
                .wrap(from_fn(admit))
                .route(web::post().to(add_checkpoint))
                .default_service(web::to(|| async { HttpResponse::MethodNotAllowed().body("POST only\n") }));
            App::new()
                .app_data(state.clone())
                .app_data(web::PayloadConfig::new(LONGEST_REQUEST))
                .service(submit)
                .route(&format!("{prefix}/"), web::get().to(pages::index))
                .route(&format!("{prefix}/key"), web::get().to(pages::key))
                .route(&format!("{prefix}/checkpoint/{{log}}"), web::get().to(pages::checkpoint))
                .route("/healthz", web::get().to(pages::health))
        })
        .workers(2)
        .client_request_timeout(Duration::from_secs(10))
        .shutdown_timeout(10)
        .bind(listen)
        .map_err(failed)?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        tracing::info!(%address, name = config.name, logs = config.logs.len(), "witnessing");
        Ok(Server { address, server: server.run() })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process is told to end.
    pub async fn run(self) -> Result<()> {
        let listen = self.address.to_string();
        self.server.await.map_err(|source| Error::Serve { listen, source })
    }
}

/// `POST /add-checkpoint`
async fn add_checkpoint(request: HttpRequest, state: web::Data<State>, body: web::Bytes) -> HttpResponse {
    let begun = Instant::now();
    let Ok(_place) = state.places.try_acquire() else {
        return later(HttpResponse::ServiceUnavailable(), Duration::from_secs(1));
    };
    let (witness, sent) = (state.witness.clone(), body.clone());
    let served = web::block(move || witness.add_checkpoint(&sent, now())).await;
    let Ok(Answer { status, content_type, body: answer }) = served else {
        tracing::error!("a request panicked");
        return HttpResponse::InternalServerError().finish();
    };
    let (old, origin, size) = told(&body);
    let elapsed_ms = begun.elapsed().as_millis() as u64;
    let peer = request.peer_addr().map(|address| address.to_string());
    match status {
        200 => tracing::info!(status, origin, old, size, peer, elapsed_ms, "cosigned"),
        // The log signed it and it contradicts what was cosigned: the operator of the witness must see that.
        422 => tracing::warn!(status, origin, old, size, peer, elapsed_ms, "inconsistent"),
        500.. => tracing::error!(status, origin, old, size, peer, answer, "failed"),
        _ => tracing::info!(status, origin, old, size, peer, elapsed_ms, "refused"),
    }
    let Ok(status) = actix_web::http::StatusCode::from_u16(status) else {
        return HttpResponse::InternalServerError().finish();
    };
    // What failed in here is for the log, not for strangers.
    let answer = if status.is_server_error() { "the state could not be written\n".to_owned() } else { answer };
    HttpResponse::build(status).content_type(content_type).body(answer)
}

/// Turns away who asks too often, before the body is read.
async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let state = request.app_data::<web::Data<State>>().cloned();
    let admitted = match (&state, request.peer_addr()) {
        (Some(state), Some(address)) => {
            let forwarded = state.behind_proxy.then(|| forwarded_for(&request)).flatten();
            state.limiter.admit(forwarded.unwrap_or(address.ip()), Instant::now())
        }
        _ => Ok(()),
    };
    match admitted {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        Err(wait) => Ok(request.into_response(later(HttpResponse::TooManyRequests(), wait)).map_into_right_body()),
    }
}

/// The peer that the proxy saw; what stands before it, the peer may have made up.
fn forwarded_for(request: &ServiceRequest) -> Option<IpAddr> {
    let header = request.headers().get_all("x-forwarded-for").last()?;
    header.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

fn later(mut response: actix_web::HttpResponseBuilder, wait: Duration) -> HttpResponse {
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    response.insert_header((RETRY_AFTER, seconds.to_string())).body("too many requests; try again later\n")
}

/// What a request says of itself, for the log: old size, origin, size.
fn told(body: &[u8]) -> (Option<u64>, Option<String>, Option<u64>) {
    let Ok(request) = AddCheckpoint::parse(body) else { return (None, None, None) };
    let mut lines = request.checkpoint.lines();
    let origin = lines.next().and_then(|line| Origin::new(line).ok()).map(|origin| origin.to_string());
    (Some(request.old), origin, lines.next().and_then(|line| line.parse().ok()))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
