//! `mainstay run`: pushes the rows of a file through a runtime, for people who write no code.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use indicatif::ProgressBar;
use mainstay::{
    Answer, Call, CallError, CallId, Handle, Receipt, Runtime,
    actors::dlq::{Filter, Kind},
    settings,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    rejects::Rejects,
    rows::{BadRow, Row, Rows},
    summary::{Place, Summary},
};

/// Where parked calls are kept when nobody says where: a queued or dead-lettered row must outlive the program.
const DATA_DIR: &str = "mainstay-data";

/// Rows that wait between the file and the calls.
const READ_AHEAD: usize = 64;

/// How long what is still on the wire at the end is waited for: a little longer than the longest request, 300 s.
const LAST_CALLS: Duration = Duration::from_secs(310);

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The configuration, a TOML file (see `mainstay config --example`). Environment variables go over it.
    #[arg(long)]
    config: PathBuf,
    /// The vendor, by its name in the configuration.
    #[arg(long)]
    vendor: String,
    /// The operation each row is pushed to.
    #[arg(long)]
    operation: String,
    /// The lane the calls wait in.
    #[arg(long, default_value = "normal")]
    lane: String,
    /// The target, where the vendor has several, such as Clay tables.
    #[arg(long)]
    target: Option<String>,
    /// The rows: one JSON object a line; `-` is standard input. A field `id`, where a row has one, is taken out and becomes
    /// the call's idempotency key.
    #[arg(long)]
    input: PathBuf,
    /// Where parked calls are kept; default what the configuration says, else `mainstay-data`.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A file for rows that were wrong or refused, one JSON object a line with `line`, `reason`, `retry_at` and `row`.
    #[arg(long)]
    rejects: Option<PathBuf>,
    /// Opens the debug endpoint on this loopback address.
    #[arg(long)]
    debug: Option<SocketAddr>,
    /// Prints the summary as one JSON object, the last line of standard output.
    #[arg(long)]
    json: bool,
    /// Calls under way at the same time, 1 to 10000. Lanes and rate hold them back further.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,
    /// Seconds to stay at the end for calls that were queued for later.
    #[arg(long, default_value_t = 0)]
    drain: u64,
}

/// How the reading ended.
enum Read {
    Whole,
    Broken(u64, io::Error),
    Interrupted,
}

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let input = open(&self.input)?;
        let mut rejects = Rejects::create(self.rejects.as_deref())?;
        let runtime = self.start().await?;
        let mut summary = Summary::default();
        let read = self.push(&runtime.handle(), input, &mut rejects, &mut summary).await;
        if read.is_ok() {
            settle(&runtime.handle(), &mut summary, Duration::from_secs(self.drain)).await?;
        }
        runtime.shutdown(Duration::from_secs(10)).await;
        rejects.finish()?;
        let read = read?;
        if self.json {
            eprintln!("{summary}");
            println!("{}", summary.to_json());
        } else {
            println!("{summary}");
        }
        Ok(self.exit_code(&read, &summary))
    }

    async fn start(&self) -> Result<Runtime, Box<dyn std::error::Error>> {
        let mut builder = settings::load(&self.config)?;
        if let Some(at) = self.debug {
            builder = builder.debug_http(at);
        }
        let data = self.data.clone();
        let runtime = builder
            .with(|config| config.data_dir = data.or(config.data_dir.take()).or_else(|| Some(DATA_DIR.into())))
            .start()
            .await?;
        if let Some(address) = runtime.handle().debug_http() {
            eprintln!("debug endpoint: http://{address}/debug/snapshot");
        }
        Ok(runtime)
    }

    /// Offers every row, so many at a time, and hears how each ended.
    async fn push(
        &self,
        handle: &Handle,
        input: Box<dyn BufRead + Send>,
        rejects: &mut Rejects,
        summary: &mut Summary,
    ) -> Result<Read, Box<dyn std::error::Error>> {
        let progress = ProgressBar::new_spinner();
        let mut rows = read_ahead(input);
        let mut calls = JoinSet::new();
        let mut read = None;
        loop {
            let room = read.is_none() && calls.len() < usize::from(self.in_flight);
            tokio::select! {
                biased;
                Some(ended) = calls.join_next() => {
                    let (row, receipt_call, result): (Row, CallId, _) = ended?;
                    note(summary, rejects, &row, Some(receipt_call), result)?;
                }
                row = rows.recv(), if room => match row {
                    None => read = Some(Read::Whole),
                    Some(Err((line, error))) => read = Some(Read::Broken(line, error)),
                    Some(Ok(row)) => self.offer(handle, row, &mut calls, summary, rejects).await?,
                },
                _ = tokio::signal::ctrl_c(), if read.is_none() => read = Some(Read::Interrupted),
                else => break,
            }
            progress.set_message(summary.one_line(calls.len()));
            progress.tick();
        }
        progress.finish_and_clear();
        Ok(read.unwrap_or(Read::Whole))
    }

    async fn offer(
        &self,
        handle: &Handle,
        row: Result<Row, BadRow>,
        calls: &mut JoinSet<(Row, CallId, Result<Answer, CallError>)>,
        summary: &mut Summary,
        rejects: &mut Rejects,
    ) -> Result<(), Box<dyn std::error::Error>> {
        summary.offered += 1;
        let row = match row {
            Ok(row) => row,
            Err(bad) => {
                summary.refused += 1;
                return Ok(rejects.bad(&bad)?);
            }
        };
        match handle.submit(self.call(&row)).await {
            Ok(receipt) => {
                calls.spawn(hear(row, receipt));
                Ok(())
            }
            Err(refusal) => note(summary, rejects, &row, None, Err(refusal.into())),
        }
    }

    fn call(&self, row: &Row) -> Call {
        let mut call = Call::new(&self.vendor, &self.operation, row.payload.clone()).lane(&self.lane);
        call.key.clone_from(&row.id);
        call.target.clone_from(&self.target);
        call
    }

    fn exit_code(&self, read: &Read, summary: &Summary) -> ExitCode {
        let input = self.input.display();
        match read {
            Read::Whole if summary.lost() == 0 => return ExitCode::SUCCESS,
            Read::Whole => eprintln!("mainstay: {} rows are not accounted for", summary.lost()),
            Read::Broken(line, error) => {
                eprintln!("mainstay: --input {input}: cannot be read behind line {line}: {error}")
            }
            Read::Interrupted => eprintln!("mainstay: interrupted after {} rows of {input}", summary.offered),
        }
        ExitCode::FAILURE
    }
}

async fn hear(row: Row, receipt: Receipt) -> (Row, CallId, Result<Answer, CallError>) {
    let call = receipt.call;
    (row, call, receipt.outcome().await)
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).map_err(|error| format!("--input {}: {error}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

type Found = Result<Result<Row, BadRow>, (u64, io::Error)>;

/// Reads on a thread of its own: a file may be slow, and standard input for ever.
fn read_ahead(input: Box<dyn BufRead + Send>) -> mpsc::Receiver<Found> {
    let (sender, rows) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        let mut rows = Rows::new(input);
        while let Some(row) = rows.next() {
            let line = rows.line();
            if sender.blocking_send(row.map_err(|error| (line, error))).is_err() {
                return;
            }
        }
    });
    rows
}

/// Counts a row where it ended.
fn note(
    summary: &mut Summary,
    rejects: &mut Rejects,
    row: &Row,
    call: Option<CallId>,
    result: Result<Answer, CallError>,
) -> Result<(), Box<dyn std::error::Error>> {
    let place = match result {
        Ok(Answer::Cached { .. }) => Place::Cached,
        Ok(Answer::Queued { .. }) => Place::Queued,
        Ok(Answer::Local { .. }) => Place::Local,
        Ok(_) => Place::Delivered,
        Err(CallError::DeadLettered { .. }) => Place::DeadLettered,
        Err(CallError::Unknown { .. }) => Place::Unknown,
        Err(CallError::StillUnderWay { .. }) => Place::UnderWay,
        Err(CallError::Refused(refusal)) => {
            if matches!(refusal.reason, mainstay::Reason::UnknownName { .. }) {
                return Err(refusal.into());
            }
            summary.refused += 1;
            return Ok(rejects.refused(row, &refusal)?);
        }
        Err(error) => {
            rejects.failed(row, &error)?;
            Place::Lost
        }
    };
    summary.ended(call, place);
    Ok(())
}

/// Waits for what is still under way, stays for the queue if that is wanted, and looks on disk where the rest is.
async fn settle(handle: &Handle, summary: &mut Summary, drain: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let looks = |wait: Duration| tokio::time::timeout(wait, until_quiet(handle));
    let _ = looks(LAST_CALLS).await;
    if !drain.is_zero() {
        let _ = tokio::time::timeout(drain, until_drained(handle)).await;
    }
    if summary.open().is_empty() {
        return Ok(());
    }
    let mut parked = BTreeMap::new();
    for kind in Kind::ALL {
        let mut after = None;
        loop {
            let page = handle.dead_letters().list(Filter::kind(kind), after).await?;
            parked.extend(page.letters.iter().map(|parked| (parked.letter.call, kind)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    summary.look_again(&parked);
    Ok(())
}

async fn until_quiet(handle: &Handle) {
    while handle.snapshot().calls.under_way > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_drained(handle: &Handle) {
    while handle.snapshot().calls.queued > 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
