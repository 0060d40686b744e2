//! `mainstay store`: looks after the data directory of a runtime that does not run.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use mainstay::store::{self, StoreCheck, StoreError};

use super::{say, tell};

/// What the exit code says; part of the help.
const EXIT_CODES: &str = "\
Exit codes:
  0  nothing is wrong or missing
  1  the data are damaged, or some are missing; the words say what
  2  it could not begin: an argument, or a directory that is in use or cannot be read";

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Store {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Reads every row, and compares what is there with what was counted. Changes nothing: it looks at a copy, in TMPDIR.
    Check {
        /// The data directory.
        dir: PathBuf,
    },
    /// Writes every parked call that can still be read as JSON lines, to be imported into another runtime.
    Salvage {
        /// The data directory. It is not changed.
        dir: PathBuf,
        /// The file, which must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Copies everything into a new directory, and looks through the copy.
    Backup {
        /// The data directory.
        dir: PathBuf,
        /// Where to: a directory that is empty, or not there. It can be used as a data directory.
        #[arg(long)]
        to: PathBuf,
    },
    /// Copies what is live into a new data file, and puts it in the place of the old one. Needs room beside the directory.
    Compact {
        /// The data directory.
        dir: PathBuf,
    },
}

impl Store {
    pub(crate) async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let done = match self.what {
            What::Check { dir } => store::check(&dir).map(|found| (found, format!("{} is sound", dir.display()))),
            What::Backup { dir, to } => store::backup(&dir, &to)
                .map(|found| (found, format!("{} is copied to {}", dir.display(), to.display()))),
            What::Salvage { dir, out } => return salvage(dir, out).await,
            What::Compact { dir } => return compact(dir),
        };
        match done {
            Ok((found, fine)) => report(&found, &fine),
            Err(error) => failed(error),
        }
    }
}

fn report(found: &StoreCheck, fine: &str) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let format = found.format.map_or("unknown".to_owned(), |format| format.to_string());
    say(format_args!("format {format}, {} bytes on disk, {} in rows", found.file_bytes, found.live_bytes()))?;
    for table in &found.tables {
        say(format_args!("{:<14}{:>10} rows {:>12} bytes", table.table, table.rows, table.bytes))?;
    }
    for problem in &found.problems {
        tell(format_args!("mainstay: {problem}"));
    }
    if found.problems.is_empty() {
        say(fine)?;
        return Ok(ExitCode::SUCCESS);
    }
    tell("mainstay: keep this directory. Parked calls are read from it by `mainstay store salvage`");
    Ok(ExitCode::FAILURE)
}

async fn salvage(dir: PathBuf, out: PathBuf) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let file = File::create_new(&out).map_err(|error| format!("--out {}: {error}", out.display()))?;
    let mut lines = BufWriter::new(file);
    let salvaged = match store::salvage(&dir, |line| writeln!(lines, "{line}")).await {
        Ok(salvaged) => salvaged,
        Err(error) => {
            drop(lines);
            let _ = std::fs::remove_file(&out); // nothing was saved
            return failed(error);
        }
    };
    lines.into_inner().map_err(|error| error.to_string())?.sync_all()?;
    let expected = salvaged.expected.map_or("an unknown number".to_owned(), |number| number.to_string());
    say(format_args!("{} of {expected} parked calls are in {}", salvaged.letters, out.display()))?;
    for (place, reason) in &salvaged.reasons {
        tell(format_args!("mainstay: place {place}: {reason}"));
    }
    if salvaged.missing_commits > 0 {
        let missing = salvaged.missing_commits;
        tell(format_args!(
            "mainstay: at least the last {missing} commits are missing, and the calls that were parked by them"
        ));
    }
    if salvaged.broken > 0 {
        tell(format_args!(
            "mainstay: {} places cannot be read; a call was parked there, or none any more",
            salvaged.broken
        ));
    }
    Ok(if salvaged.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compact(dir: PathBuf) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match store::compact(&dir) {
        Ok(store::Compacted { before, after }) => {
            say(format_args!("{}: {before} bytes became {after}", dir.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => failed(error),
    }
}

/// Damage is an answer; anything else means that there was nothing to look at.
fn failed(error: StoreError) -> Result<ExitCode, Box<dyn std::error::Error>> {
    if !matches!(error, StoreError::Damaged(_)) {
        return Err(error.into());
    }
    tell(format_args!("mainstay: {error}"));
    Ok(ExitCode::FAILURE)
}
