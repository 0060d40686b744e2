//! The commands of the `mainstay` program. Only this program, and the examples, install a log subscriber.

mod sim;

/// mainstay: guards an application's calls to paid vendors.
#[derive(Debug, clap::Parser)]
#[command(name = "mainstay", version)]
pub(crate) enum Command {
    /// Runs the vendor simulator (Clay's table webhook and Retell AI's phone calls) until Ctrl-C.
    Sim(sim::Sim),
}

impl Command {
    pub(crate) async fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            Self::Sim(sim) => sim.run().await,
        }
    }
}
