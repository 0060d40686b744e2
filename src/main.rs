//! The `mainstay` program.

mod cli;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "mainstay=info".into());
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    match cli::Command::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            cli::tell(format_args!("mainstay: {error}"));
            ExitCode::from(2)
        }
    }
}
