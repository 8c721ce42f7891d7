//! The stub engine as a process of its own. `POST /stub/mode` changes how it answers,
//! `GET /stub/counters` tells what happened.

use std::time::Duration;

use clap::Parser;
use tests::stub_engine::{Model, Options, StubEngine};

/// Speaks the wire format of CosyVoice's FastAPI server on the loopback interface.
#[derive(Parser)]
struct Arguments {
    /// Port; 0 takes a free one.
    #[arg(long, default_value_t = 50_000)]
    port: u16,
    /// Which model the server pretends to have loaded.
    #[arg(long, value_enum, default_value = "cosyvoice3")]
    model: Model,
    /// How long a request takes before its first byte, in milliseconds.
    #[arg(long, default_value_t = 0)]
    cost_milliseconds: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cost = Duration::from_millis(arguments.cost_milliseconds);
    let options = Options { port: arguments.port, model: arguments.model, cost };
    let stub = StubEngine::start_with(options).await?;
    println!("stub-engine listens on {}", stub.url());
    stub.serve().await;
    Ok(())
}
