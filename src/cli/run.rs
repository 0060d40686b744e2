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
    Answer, Builder, Call, CallError, CallId, Handle, Reason, Receipt, Refusal, Runtime,
    actors::dlq::{Filter, Kind},
    settings,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    rejects::Rejects,
    rows::{BadRow, Row, Rows},
    say,
    summary::{Place, Summary},
    tell, told_to_end,
};

/// Where parked calls are kept when nobody says where: a queued or dead-lettered row must outlive the program.
const DATA_DIR: &str = "mainstay-data";

/// Rows that wait between the file and the calls.
const READ_AHEAD: usize = 64;

/// How long what is still on the wire at the end is waited for: a little longer than the longest request, 300 s.
const LAST_CALLS: Duration = Duration::from_secs(310);

/// How long the end of the runtime may take.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// The same for somebody who said twice that it must end.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

/// What the exit code says; part of the help.
const EXIT_CODES: &str = "\
Exit codes:
  0  every row is accounted for: none is lost, whether it was delivered, parked or refused
  1  it stopped before the end of the input, or a row is not accounted for
  2  it could not begin: an argument, the configuration, a file or a name is wrong

Ctrl-C and SIGTERM stop it in order: rows under way end first, once more leaves them.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
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
    /// A file for rows that were wrong or refused, one JSON object a line with `line`, `reason`, `retry_at` and `row`. What an
    /// earlier run left in it is replaced.
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
    /// The rejects could not be written any more.
    Rejected,
    Interrupted,
}

type Heard = (Row, CallId, Result<Answer, CallError>);

/// The rows on their way.
struct Work {
    calls: JoinSet<Heard>,
    summary: Summary,
    rejects: Rejects,
    /// The last line that was offered.
    line: u64,
    /// Told a second time: what is under way is left where it is.
    is_cut: bool,
}

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let mut told = told_to_end()?;
        let settings = settings::load(&self.config)?;
        let input = open(&self.input)?;
        self.check_rejects()?;
        let rejects = Rejects::open(self.rejects.as_deref())?;
        let runtime = self.start(settings).await?;
        let mut work = Work { calls: JoinSet::new(), summary: Summary::default(), rejects, line: 0, is_cut: false };
        let read = self.push(&runtime.handle(), input, &mut told, &mut work).await;
        if read.is_ok() && !work.is_cut {
            settle(&runtime.handle(), &mut work.summary, Duration::from_secs(self.drain), &mut told).await?;
        }
        // Whatever is still under way after this is parked, and its row told so.
        runtime.shutdown(if work.is_cut { LEFT_BEHIND } else { SHUTDOWN }).await;
        let read = read?;
        work.hear_the_rest().await?;
        work.summary.stopped();
        Ok(self.report(&read, work))
    }

    /// The input must not be emptied as the file of rejects of the same run.
    fn check_rejects(&self) -> Result<(), String> {
        let Some(rejects) = &self.rejects else { return Ok(()) };
        match (rejects.canonicalize(), self.input.canonicalize()) {
            (Ok(rejects), Ok(input)) if rejects == input && rejects.is_file() => {
                Err(format!("--rejects {}: is the input: give it a file of its own", rejects.display()))
            }
            _ => Ok(()),
        }
    }

    async fn start(&self, mut builder: Builder) -> Result<Runtime, Box<dyn std::error::Error>> {
        if let Some(at) = self.debug {
            builder = builder.debug_http(at);
        }
        let data = self.data.clone();
        let runtime = builder
            .with(|config| config.data_dir = data.or(config.data_dir.take()).or_else(|| Some(DATA_DIR.into())))
            .start()
            .await?;
        if let Some(address) = runtime.handle().debug_http() {
            tell(format_args!("debug endpoint: http://{address}/debug/snapshot"));
        }
        Ok(runtime)
    }

    /// Offers every row, so many at a time, and hears how each ended.
    async fn push(
        &self,
        handle: &Handle,
        input: Box<dyn BufRead + Send>,
        told: &mut mpsc::Receiver<()>,
        work: &mut Work,
    ) -> Result<Read, Box<dyn std::error::Error>> {
        let progress = ProgressBar::new_spinner();
        let mut rows = read_ahead(input);
        let mut read = None;
        while read.is_none() || !work.calls.is_empty() {
            if read.is_none() && work.rejects.is_broken() {
                read = Some(Read::Rejected);
            }
            let room = read.is_none() && work.calls.len() < usize::from(self.in_flight);
            tokio::select! {
                biased;
                Some(()) = told.recv() => {
                    if matches!(read, Some(Read::Interrupted)) {
                        work.is_cut = true;
                        break;
                    }
                    let left = work.calls.len();
                    progress.suspend(|| tell(format_args!("mainstay: waits for {left} rows under way; once more leaves them")));
                    read = Some(Read::Interrupted);
                }
                Some(heard) = work.calls.join_next() => work.note_heard(heard?)?,
                row = rows.recv(), if room => match row {
                    None => read = Some(Read::Whole),
                    Some(Err((line, error))) => read = Some(Read::Broken(line, error)),
                    Some(Ok(row)) => self.offer(handle, row, work).await?,
                },
                else => break,
            }
            progress.set_message(work.summary.one_line(work.calls.len()));
            progress.tick();
        }
        progress.finish_and_clear();
        Ok(read.unwrap_or(Read::Whole))
    }

    async fn offer(
        &self,
        handle: &Handle,
        row: Result<Row, BadRow>,
        work: &mut Work,
    ) -> Result<(), Box<dyn std::error::Error>> {
        work.summary.offered += 1;
        let row = match row {
            Ok(row) => row,
            Err(bad) => {
                work.line = bad.line;
                work.summary.refused += 1;
                work.rejects.bad(&bad);
                return Ok(());
            }
        };
        work.line = row.line;
        match handle.submit(self.call(&row)).await {
            Ok(receipt) => {
                work.calls.spawn(hear(row, receipt));
                Ok(())
            }
            Err(refusal) => work.refused(&row, refusal),
        }
    }

    fn call(&self, row: &Row) -> Call {
        let mut call = Call::new(&self.vendor, &self.operation, row.payload.clone()).lane(&self.lane);
        call.key.clone_from(&row.id);
        call.target.clone_from(&self.target);
        call
    }

    /// Says what became of the rows.
    fn report(&self, read: &Read, work: Work) -> ExitCode {
        let Work { summary, rejects, line, .. } = work;
        let mut code = self.exit_code(read, line, &summary);
        if let (Err(error), Some(file)) = (rejects.finish(), &self.rejects) {
            tell(format_args!("mainstay: --rejects {}: {error}; stopped behind line {line}", file.display()));
            code = ExitCode::FAILURE;
        }
        let said = if self.json {
            tell(&summary);
            say(summary.to_json())
        } else {
            say(&summary)
        };
        match said {
            Ok(()) => code,
            Err(error) => {
                tell(format_args!("mainstay: {error}"));
                ExitCode::FAILURE
            }
        }
    }

    fn exit_code(&self, read: &Read, line: u64, summary: &Summary) -> ExitCode {
        let input = self.input.display();
        match read {
            Read::Whole if summary.lost() == 0 => return ExitCode::SUCCESS,
            Read::Whole => tell(format_args!("mainstay: {} rows are not accounted for", summary.lost())),
            Read::Broken(line, error) => {
                tell(format_args!("mainstay: --input {input}: cannot be read behind line {line}: {error}"));
            }
            Read::Interrupted => tell(format_args!("mainstay: interrupted behind line {line} of {input}")),
            Read::Rejected => {}
        }
        ExitCode::FAILURE
    }
}

impl Work {
    /// Counts a row where it ended.
    fn note_heard(&mut self, (row, call, result): Heard) -> Result<(), Box<dyn std::error::Error>> {
        // Another call may stand for this one: then that is the one to look for.
        let (call, place) = match result {
            Ok(Answer::Cached { .. }) => (call, Place::Cached),
            Ok(Answer::Queued { .. }) => (call, Place::Queued),
            Ok(Answer::Local { .. }) => (call, Place::Local),
            Ok(_) => (call, Place::Delivered),
            Err(CallError::DeadLettered { call, .. }) => (call, Place::DeadLettered),
            Err(CallError::Unknown { call, .. }) => (call, Place::Unknown),
            Err(CallError::StillUnderWay { call, .. }) => (call, Place::UnderWay),
            Err(CallError::Refused(refusal)) => return self.refused(&row, refusal),
            Err(error) => {
                self.rejects.failed(&row, &error);
                (call, Place::Lost)
            }
        };
        self.summary.ended(call, place);
        Ok(())
    }

    /// A row that a guard refused; a name that nobody has ends the run.
    fn refused(&mut self, row: &Row, refusal: Refusal) -> Result<(), Box<dyn std::error::Error>> {
        if matches!(refusal.reason, Reason::UnknownName { .. }) {
            return Err(refusal.into());
        }
        self.summary.refused += 1;
        self.rejects.refused(row, &refusal);
        Ok(())
    }

    /// Once the runtime has stopped, every call has its end.
    async fn hear_the_rest(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        while let Some(heard) = self.calls.join_next().await {
            self.note_heard(heard?)?;
        }
        Ok(())
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

/// Waits for what is still under way, stays for the queue if that is wanted, and looks on disk where the rest is. Whoever
/// tells the program to end ends the waiting.
async fn settle(
    handle: &Handle,
    summary: &mut Summary,
    drain: Duration,
    told: &mut mpsc::Receiver<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let quiet = tokio::select! {
        waited = tokio::time::timeout(LAST_CALLS, until_quiet(handle)) => waited.is_ok(),
        _ = told.recv() => false,
    };
    if quiet && !drain.is_zero() {
        tokio::select! {
            _ = tokio::time::timeout(drain, until_drained(handle)) => {}
            _ = told.recv() => {}
        }
    }
    if !summary.has_open() {
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
    summary.look_again(&parked, quiet);
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
