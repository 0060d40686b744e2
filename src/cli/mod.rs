//! The commands of the `mainstay` program. Only this program, and the examples, install a log subscriber.

mod config;
mod rejects;
mod rows;
mod run;
mod sim;
mod summary;

use std::process::ExitCode;

/// mainstay: guards an application's calls to paid vendors.
#[derive(Debug, clap::Parser)]
#[command(name = "mainstay", version)]
pub(crate) enum Command {
    /// Pushes the rows of a file through a runtime: each is accounted for.
    Run(run::Run),
    /// Prints a complete configuration with comments, or checks one.
    Config(config::Config),
    /// Runs the vendor simulator (Clay's table webhook and Retell AI's phone calls) until Ctrl-C.
    Sim(sim::Sim),
}

impl Command {
    pub(crate) async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        match self {
            Self::Run(run) => run.run().await,
            Self::Config(config) => config.run(),
            Self::Sim(sim) => sim.run().await,
        }
    }
}
