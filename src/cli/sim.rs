//! `mainstay sim`: the vendors, to develop against.

use std::{net::SocketAddr, path::PathBuf};

use mainstay::testing::{Script, Simulator, SimulatorConfig};

#[derive(Debug, clap::Args)]
pub(crate) struct Sim {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// What goes wrong: a JSON file with `seed` and `episodes`, as documented at `mainstay::testing::Script`.
    #[arg(long)]
    script: Option<PathBuf>,
    /// What delays, costs and ids depend on.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where ends of calls and enriched rows are posted.
    #[arg(long)]
    callback_url: Option<String>,
}

impl Sim {
    pub(crate) async fn run(self) -> Result<(), Box<dyn std::error::Error>> {
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
        println!("clay webhook  {}", vendors.clay_url());
        println!("retell        {} (API key key_test)", vendors.retell_url());
        println!("ledger        {}/__ledger", vendors.base_url());
        tokio::signal::ctrl_c().await?;
        vendors.stop().await;
        Ok(())
    }
}
