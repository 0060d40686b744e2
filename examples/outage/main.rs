//! An outage, from the first lead to the last dead letter.
//!
//! ```text
//! cargo run --release --example outage
//! ```
//!
//! Starts a simulator of Clay and Retell AI, then an application that embeds mainstay and pushes 2,000 leads to Clay and 200
//! phone calls to Retell in three lanes, through a scripted outage, rate limiting, slow answers, and panics injected into
//! every kind of actor. Afterwards the operator's part: unknown phone calls are looked up at the vendor, and the dead letters
//! are replayed to empty. In the end the vendors' own ledger is held against what the runtime says, by code that shares
//! nothing with it (`checker.rs`). The last line is one JSON object; the exit code is not 0 when a call was lost, an effect
//! doubled, or a limit passed.
//!
//! `--debug 127.0.0.1:0 --hold` prints the address of the debug endpoint and stays up afterwards; `--seed N` tells another
//! story; `--data DIR` keeps the parked calls there.

#![allow(unreachable_pub, reason = "a program of several files")]

mod application;
mod checker;
mod history;
mod report;
mod story;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{application::Application, story::Story};

/// An outage, from the first lead to the last dead letter.
#[derive(Debug, Parser)]
struct Options {
    /// Tells another story.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Opens the debug endpoint on this loopback address.
    #[arg(long)]
    debug: Option<SocketAddr>,
    /// Stays up after the story, until Ctrl-C.
    #[arg(long)]
    hold: bool,
    /// Keeps the parked calls in this directory instead of one that goes away.
    #[arg(long)]
    data: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    // `RUST_LOG=mainstay=info` shows what the runtime logs; the story needs the terminal for itself.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    silence_injected_panics();
    match run(options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("outage: {error}");
            ExitCode::from(2)
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn run(options: Options) -> Result<bool, Failure> {
    let story = Story::new(options.seed);
    let scratch = tempfile::tempdir()?;
    let data = options.data.unwrap_or_else(|| scratch.path().join("data"));
    println!("{}", report::settings());
    let app = Application::start(&story, &data, options.debug).await?;
    if let Some(address) = app.handle().debug_http() {
        println!("debug endpoint: http://{address}/debug/snapshot");
    }
    app.push_everything(&story).await;
    app.settle_down().await;
    app.look_up_unknown_calls().await?;
    app.replay_dead_letters().await?;
    app.callbacks_are_in().await;
    let verdict = checker::check(&app.vendors_url(), &app.history(), &app.said()).await?;
    println!("{}", report::summary(&app, &verdict));
    if options.hold {
        println!("staying up until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    let clean = verdict.is_clean();
    let line = report::last_line(&app, &verdict)?;
    app.stop(Duration::from_secs(10)).await;
    println!("{line}");
    Ok(clean)
}

/// Injected panics are part of the story and counted; only others are printed.
fn silence_injected_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if !text.starts_with("chaos:") {
            print(panic);
        }
    }));
}
