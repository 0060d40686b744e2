//! Rows that were wrong or refused: to a file, or the first of them to standard error.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use mainstay::{CallError, Refusal, actors::clock::Clock};
use serde_json::{Value, json};

use super::rows::{BadRow, Row};

/// How many are shown when there is no file.
const SHOWN_MAX: u64 = 20;

/// Where they go.
pub(crate) struct Rejects {
    file: Option<BufWriter<File>>,
    seen: u64,
    clock: Clock,
}

impl Rejects {
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, String> {
        let create = |path: &Path| {
            File::create(path).map(BufWriter::new).map_err(|error| format!("--rejects {}: {error}", path.display()))
        };
        Ok(Self { file: path.map(create).transpose()?, seen: 0, clock: Clock::default() })
    }

    /// A row that cannot be offered. What it holds is given as text.
    pub(crate) fn bad(&mut self, bad: &BadRow) -> io::Result<()> {
        self.write(bad.line, &bad.reason, json!({ "line": bad.line, "reason": bad.reason, "row": bad.excerpt }))
    }

    /// A row that a guard refused: it may be offered again, at `retry_at` at the earliest.
    pub(crate) fn refused(&mut self, row: &Row, refusal: &Refusal) -> io::Result<()> {
        let retry_at = refusal.retry_at.map(|at| self.clock.wall_of(at).to_string());
        let reason = refusal.to_string();
        let entry = json!({ "line": row.line, "reason": reason, "retry_at": retry_at, "row": whole(row) });
        self.write(row.line, &reason, entry)
    }

    /// A row whose end could not be written down.
    pub(crate) fn failed(&mut self, row: &Row, error: &CallError) -> io::Result<()> {
        let reason = error.to_string();
        self.write(row.line, &reason, json!({ "line": row.line, "reason": reason, "row": whole(row) }))
    }

    /// Says how many were not shown, and ends the file.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.file {
            Some(mut file) => file.flush(),
            None if self.seen > SHOWN_MAX => {
                eprintln!("and {} more; --rejects FILE keeps them all", self.seen - SHOWN_MAX);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, line: u64, reason: &str, entry: Value) -> io::Result<()> {
        self.seen += 1;
        match &mut self.file {
            Some(file) => writeln!(file, "{entry}"),
            None if self.seen <= SHOWN_MAX => {
                eprintln!("line {line}: {reason}");
                Ok(())
            }
            None => Ok(()),
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
