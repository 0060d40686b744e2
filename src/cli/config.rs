//! `mainstay config`: the configuration, complete and commented, or a check of one.

use std::{path::PathBuf, process::ExitCode};

use mainstay::settings;

use super::say;

#[derive(Debug, clap::Args)]
#[group(required = true)]
pub(crate) struct Config {
    /// Prints a complete configuration with comments.
    #[arg(long)]
    example: bool,
    /// Checks a file, with the environment over it, and names every fault.
    #[arg(long, conflicts_with = "example")]
    check: Option<PathBuf>,
}

impl Config {
    pub(crate) fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let Some(file) = self.check else {
            say(settings::EXAMPLE.trim_end())?;
            return Ok(ExitCode::SUCCESS);
        };
        let _builder = settings::load(&file)?;
        say(format_args!("{} is fine", file.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
