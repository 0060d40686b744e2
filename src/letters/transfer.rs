//! Parked calls as JSON lines: written out, and read in again, here or by another runtime.

use std::io::{BufRead, Read as _};

use mainstay_actors::dlq::{Filter, Park, ParkedLetter};
use serde::Serialize;

use super::{DeadLetters, LettersError, state_of};
use crate::restore::restore_one;

/// Longest line that is read, in bytes: the largest payload of any operation (16 MiB) and what is around it.
pub const LINE_MAX_BYTES: u64 = 17 << 20;

/// What came of an import. Lines are counted once each; empty ones are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Parked.
    pub imported: u64,
    /// Left alone: a letter with this id is parked already.
    pub already: u64,
    /// Not parked; each was told with its line and the reason.
    pub rejected: u64,
    /// Why the reading stopped before the end, if it did.
    pub stopped: Option<String>,
}

impl DeadLetters {
    /// Everything that matches as JSON lines, oldest first, page by page: `write` gets one line at a time, without its end.
    /// Returns how many.
    ///
    /// # Errors
    ///
    /// [`LettersError`] when the store or its actor does not answer.
    pub async fn export(&self, filter: Filter, mut write: impl FnMut(&str)) -> Result<u64, LettersError> {
        let (mut after, mut lines) = (None, 0);
        loop {
            let page = self.list(filter.clone(), after).await?;
            for parked in &page.letters {
                let line = serde_json::to_string(parked).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
                write(&line);
                lines += 1;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(lines),
            }
        }
    }

    /// Parks what [`Self::export`] wrote: the same ids, keys, attempts and due times, linked to the same calls, which count as
    /// offered here. A letter that is parked already is left alone, so a file may be read twice. One that was delivered since
    /// it was written comes back; while its key is remembered, its replay does nothing twice.
    ///
    /// A line that is wrong, or finds no room, is told to `reject` with its number, from 1, and the reason; the rest goes on.
    /// Reading blocks, so read from memory or a file.
    pub async fn import(&self, mut lines: impl BufRead, mut reject: impl FnMut(u64, &str)) -> ImportReport {
        let (mut report, mut number) = (ImportReport::default(), 0);
        loop {
            number += 1;
            let taken = match read_line(&mut lines) {
                Ok(None) => return report,
                Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => continue,
                Ok(Some(Line::Whole(line))) => self.import_line(&line).await,
                Ok(Some(Line::TooLong)) => Err(format!("is longer than {LINE_MAX_BYTES} bytes")),
                Err(error) => {
                    report.stopped = Some(format!("line {number} cannot be read: {error}"));
                    return report;
                }
            };
            match taken {
                Ok(true) => report.imported += 1,
                Ok(false) => report.already += 1,
                Err(reason) => {
                    report.rejected += 1;
                    reject(number, &reason);
                }
            }
        }
    }

    /// Parks one line. `false`: it is parked already.
    async fn import_line(&self, line: &[u8]) -> Result<bool, String> {
        let ParkedLetter { seq, letter, state } =
            serde_json::from_slice(line).map_err(|error| format!("is no letter: {error}"))?;
        self.gateway.could_do(&letter.to_call()).map_err(|refusal| refusal.to_string())?;
        let state = state.sound();
        let (vendor, counted) = (&letter.vendor, state_of(state.kind));
        // Counted before it is there: it may be done as soon as it is.
        self.gateway.tally.inherited(vendor, counted, 1);
        let parked = self.ask(|| Park { letter: letter.clone(), state: state.clone() }).await;
        let is_new = parked.map(|parked| parked.is_new).map_err(|error| error.to_string());
        if is_new == Ok(true) {
            restore_one(&self.gateway, ParkedLetter { seq, letter, state });
        } else {
            self.gateway.tally.not_inherited(vendor, counted);
        }
        is_new
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// The next line; `None` at the end of all.
fn read_line(lines: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let read = lines.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') || (read as u64) < LINE_MAX_BYTES {
        return Ok(Some(Line::Whole(line)));
    }
    lines.skip_until(b'\n')?;
    Ok(Some(Line::TooLong))
}
