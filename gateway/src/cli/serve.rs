//! `cairn serve`.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    middleware::from_fn,
    web::{self, Data},
};
use anyhow::Context;
use clap::Args;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_actix_web::TracingLogger;
use tracing_subscriber::EnvFilter;
use utoipa::OpenApi;
use utoipa_actix_web::AppExt;
use utoipa_swagger_ui::SwaggerUi;

use super::Global;
use crate::{
    auth,
    config::{Config, LogFormat},
    error, http, replica,
    state::AppState,
};

#[derive(Args)]
pub(crate) struct Serve {}

pub(crate) async fn run(global: &Global, _command: Serve) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    log_to_stderr(&config)?;
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("seconds".into()), &BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("duration".into()), &BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("first_token".into()), &BUCKETS)?
        .install_recorder()
        .context("metrics cannot be collected")?;
    let state = AppState::open(config, metrics).await?;
    let listen = state.config.listen;
    let grace = state.config.shutdown_grace;
    let app_state = Data::from(state.clone());
    let (body_limit, workers) = (state.config.body_limit, state.config.workers);
    let server = HttpServer::new(move || {
        App::new()
            .into_utoipa_app()
            .openapi(http::ApiDoc::openapi())
            .map(|app| {
                app.wrap(from_fn(auth::authenticate))
                    .wrap(from_fn(replica::pass_on))
                    .wrap(from_fn(http::response_headers))
                    .wrap(TracingLogger::<http::spans::Spans>::new())
                    .app_data(app_state.clone())
                    .app_data(web::JsonConfig::default().limit(body_limit).error_handler(error::json_error))
                    .app_data(web::PayloadConfig::new(body_limit))
                    .app_data(web::QueryConfig::default().error_handler(error::query_error))
            })
            .configure(http::endpoints)
            .openapi_service(|api| SwaggerUi::new("/docs/{_:.*}").url("/openapi.json", api))
            .map(|app| {
                app.route("/", web::get().to(http::ops::root))
                    .route("/docs", web::get().to(http::ops::docs))
                    .service(http::studio::without_slash)
                    .service(http::studio::page)
                    .default_service(web::to(http::not_found))
            })
            .into_app()
    })
    .workers(workers)
    .client_request_timeout(Duration::from_secs(15))
    .shutdown_timeout(grace.as_secs())
    .bind(listen)
    .with_context(|| format!("cannot listen on {listen}; is another server there? server.listen chooses"))?
    .run();
    tracing::info!(address = %listen, data_dir = %state.config.data_dir.display(), "serving");
    let failed = Arc::new(AtomicBool::new(false));
    let hold = state.hold.lock().take();
    if let Some(hold) = hold {
        let (handle, fails) = (server.handle(), failed.clone());
        // Whoever starts next may take the database: two must not write, so this one ends.
        tokio::spawn(async move {
            hold.lost().await;
            fails.store(true, Ordering::Relaxed);
            tracing::error!(
                "the database is held no more (its server, or the way to it, failed): stopping; start again"
            );
            handle.stop(true).await;
        });
    }
    server.await?;
    drain(&state, grace).await;
    Ok(if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Lets answers under way be recorded.
async fn drain(state: &Arc<AppState>, grace: Duration) {
    state.in_flight.close();
    if tokio::time::timeout(grace, state.in_flight.wait()).await.is_err() {
        tracing::warn!("answers were cut off: they took longer than server.shutdown_grace_s");
    }
    tracing::info!("stopped");
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.telemetry.filter).context("telemetry.filter is not valid")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.telemetry.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
