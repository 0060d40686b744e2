//! `mainstay sim`: the vendors, to develop against.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mainstay::testing::{Script, Simulator, SimulatorConfig};

use super::{say, told_to_end};

/// One of the vendors it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Face {
    Clay,
    Retell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Sim {
    /// Whose address is printed; default all.
    #[arg(long)]
    vendor: Option<Face>,
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// What goes wrong: a JSON file with `seed` and `episodes`, as documented at `mainstay::testing::Script`.
    #[arg(long)]
    script: Option<PathBuf>,
    /// A file for the vendors' own ledger, written at the end: one request a line.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// What delays, costs and ids depend on.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where ends of calls and enriched rows are posted.
    #[arg(long)]
    callback_url: Option<String>,
}

impl Sim {
    pub(crate) async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let mut told = told_to_end()?;
        let script = match &self.script {
            Some(file) => {
                let text = std::fs::read(file).map_err(|error| format!("--script {}: {error}", file.display()))?;
                serde_json::from_slice(&text).map_err(|error| format!("--script {}: {error}", file.display()))?
            }
            None => Script::seeded(self.seed),
        };
        let mut config = SimulatorConfig { bind: self.listen, seed: self.seed, script, ..SimulatorConfig::default() };
        config.clay.callback_url.clone_from(&self.callback_url);
        config.retell.callback_url = self.callback_url;
        let vendors = Simulator::start(config).map_err(|error| format!("--listen {}: {error}", self.listen))?;
        if self.vendor.is_none_or(|face| face == Face::Clay) {
            say(format_args!("clay webhook  {}", vendors.clay_url()))?;
        }
        if self.vendor.is_none_or(|face| face == Face::Retell) {
            say(format_args!("retell        {} (API key key_test)", vendors.retell_url()))?;
        }
        say(format_args!("ledger        {}/__ledger", vendors.base_url()))?;
        told.recv().await;
        if let Some(file) = &self.ledger {
            write_ledger(&vendors, file).map_err(|error| format!("--ledger {}: {error}", file.display()))?;
        }
        vendors.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

fn write_ledger(vendors: &Simulator, file: &Path) -> io::Result<()> {
    let mut to = BufWriter::new(File::create(file)?);
    for entry in vendors.ledger() {
        serde_json::to_writer(&mut to, &entry)?;
        writeln!(to)?;
    }
    to.flush()
}
