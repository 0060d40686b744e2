//! The `mainstay` program.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "mainstay=info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli::Command::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mainstay: {error}");
            ExitCode::from(2)
        }
    }
}
