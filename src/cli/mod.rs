//! The commands of the `mainstay` program. Only this program, and the examples, install a log subscriber.

mod config;
mod rejects;
mod rows;
mod run;
mod sim;
mod store;
mod summary;

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use tokio::sync::mpsc;

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
    /// Looks after the data directory of a runtime that does not run.
    Store(store::Store),
}

impl Command {
    pub(crate) async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        match self {
            Self::Run(run) => run.run().await,
            Self::Config(config) => config.run(),
            Self::Sim(sim) => sim.run().await,
            Self::Store(store) => store.run().await,
        }
    }
}

/// Writes a line to standard output. A reader that has seen enough is no fault.
pub(crate) fn say(line: impl fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| io::Error::new(error.kind(), format!("standard output: {error}"))),
    }
}

/// Writes a line to standard error, if anybody listens.
pub(crate) fn tell(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Each Ctrl-C from now on, and each signal by which a supervisor of processes ends one. None is missed between two looks.
pub(crate) fn told_to_end() -> io::Result<mpsc::Receiver<()>> {
    let (sender, told) = mpsc::channel(1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(async move {
            loop {
                let heard = tokio::select! { heard = interrupt.recv() => heard, heard = terminate.recv() => heard };
                if heard.is_none() || sender.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {} });
    Ok(told)
}
