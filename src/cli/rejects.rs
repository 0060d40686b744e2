//! Rows that were wrong or refused: to a file, or the first of them to standard error.

use std::{
    fs::File,
    io::{self, LineWriter, Write},
    path::Path,
};

use mainstay::{CallError, Refusal, actors::clock::Clock};
use serde_json::{Value, json};

use super::{
    rows::{BadRow, Row},
    tell,
};

/// How many are shown when there is no file.
const SHOWN_MAX: u64 = 20;

/// Where they go.
pub(crate) struct Rejects {
    file: Option<LineWriter<File>>,
    seen: u64,
    /// Nothing can be written any more.
    broken: Option<io::Error>,
    clock: Clock,
}

impl Rejects {
    /// Opens the file. What an earlier run left in it stays until this run has come to its first row that goes there, or to
    /// its end, so that a run that cannot begin costs nobody anything.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, String> {
        let open = |path: &Path| {
            let file = File::options().write(true).create(true).truncate(false).open(path);
            file.map(LineWriter::new).map_err(|error| format!("--rejects {}: {error}", path.display()))
        };
        Ok(Self { file: path.map(open).transpose()?, seen: 0, broken: None, clock: Clock::default() })
    }

    /// Whether no row can be kept any more: a row that would be refused now would be lost.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// A row that cannot be offered. What it holds is given as text.
    pub(crate) fn bad(&mut self, bad: &BadRow) {
        self.write(bad.line, &bad.reason, json!({ "line": bad.line, "reason": bad.reason, "row": bad.excerpt }));
    }

    /// A row that a guard refused: it may be offered again, at `retry_at` at the earliest.
    pub(crate) fn refused(&mut self, row: &Row, refusal: &Refusal) {
        let retry_at = refusal.retry_at.map(|at| self.clock.wall_of(at).to_string());
        let reason = refusal.to_string();
        let entry = json!({ "line": row.line, "reason": reason, "retry_at": retry_at, "row": whole(row) });
        self.write(row.line, &reason, entry);
    }

    /// A row whose end could not be written down.
    pub(crate) fn failed(&mut self, row: &Row, error: &CallError) {
        let reason = error.to_string();
        self.write(row.line, &reason, json!({ "line": row.line, "reason": reason, "row": whole(row) }));
    }

    /// Says how many were not shown, and ends the file.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.seen == 0 {
            self.clear()?;
        }
        if self.file.is_none() && self.seen > SHOWN_MAX {
            tell(format_args!("and {} more; --rejects FILE keeps them all", self.seen - SHOWN_MAX));
        }
        self.broken.map_or(Ok(()), Err)
    }

    fn write(&mut self, line: u64, reason: &str, entry: Value) {
        let begun = if self.seen == 0 { self.clear() } else { Ok(()) };
        self.seen += 1;
        let written = begun.and_then(|()| match &mut self.file {
            Some(file) => writeln!(file, "{entry}"),
            None if self.seen <= SHOWN_MAX => {
                tell(format_args!("line {line}: {reason}"));
                Ok(())
            }
            None => Ok(()),
        });
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }

    /// Takes out what an earlier run left; a pipe or a device has nothing to take out.
    fn clear(&self) -> io::Result<()> {
        match &self.file {
            Some(file) if file.get_ref().metadata()?.is_file() => file.get_ref().set_len(0),
            _ => Ok(()),
        }
    }
}

/// The row as it was in the file.
fn whole(row: &Row) -> Value {
    let mut whole = row.payload.clone();
    if let (Some(id), Some(object)) = (&row.id, whole.as_object_mut()) {
        object.insert("id".into(), id.as_str().into());
    }
    whole
}
