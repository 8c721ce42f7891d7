//! `cosygate serve`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use origin::app::{self, App};
use origin::config::Settings;
use origin::metrics_listener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[derive(Args)]
pub(crate) struct Options {
    /// Where the edge reaches the origin; overrides COSYGATE_ORIGIN_ADDR.
    #[arg(long, value_name = "ADDRESS")]
    addr: Option<SocketAddr>,
    /// Where /metrics, /healthz and /readyz are; overrides COSYGATE_METRICS_ADDR.
    #[arg(long, value_name = "ADDRESS")]
    metrics_addr: Option<SocketAddr>,
}

pub(crate) async fn run(mut settings: Settings, options: Options) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stderr).with_env_filter(filter).init();
    // The message of a panic may quote what a user sent; its place may be logged.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(at = panic.location().map(ToString::to_string), "panic");
    }));
    settings.origin_addr = options.addr.unwrap_or(settings.origin_addr);
    settings.metrics_addr = options.metrics_addr.unwrap_or(settings.metrics_addr);
    metrics_listener::install()?;
    let stop = stop_on_signal()?;
    let app = App::assemble(settings).await?;
    app::serve(Arc::new(app), stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// Cancelled by SIGTERM or SIGINT. A second signal ends the process at once.
fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                tracing::warn!("stopped at once by a second signal");
                std::process::exit(1);
            }
            token.cancel();
        }
    });
    Ok(stop)
}
