//! The rows of a JSONL file, one at a time, whatever is in the file.

use std::io::{self, BufRead};

use serde_json::Value;

/// Longest row, in bytes: above the largest payload an operation may allow (16 MiB).
pub(crate) const ROW_MAX_BYTES: usize = 17 << 20;

/// The field of a row that becomes the call's key. It is ours, so it does not travel to the vendor.
const ID: &str = "id";

/// How much of a wrong row is repeated, in characters.
const EXCERPT: usize = 200;

/// One row that can be offered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Its line, from 1.
    pub(crate) line: u64,
    /// The caller's key, where the row has one.
    pub(crate) id: Option<String>,
    /// What the vendor gets.
    pub(crate) payload: Value,
}

/// One row that cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// Its line, from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) reason: String,
    /// How it begins.
    pub(crate) excerpt: String,
}

/// Reads rows. Blank lines are passed over; a wrong one is told with its line, and the next one follows.
pub(crate) struct Rows<R> {
    from: R,
    line: u64,
}

impl<R: BufRead> Rows<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, line: 0 }
    }

    /// The line that was read last.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The next line without its end, and whether it was longer than is kept. `None` at the end.
    fn next_line(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        let (mut text, mut too_long, mut begun) = (Vec::new(), false, false);
        loop {
            let chunk = match self.from.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(begun.then_some((text, too_long)));
            }
            begun = true;
            let (part, used, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(at) => (chunk.get(..at).unwrap_or_default(), at + 1, true),
                None => (chunk, chunk.len(), false),
            };
            too_long |= text.len() + part.len() > ROW_MAX_BYTES;
            if !too_long {
                text.extend_from_slice(part);
            }
            self.from.consume(used);
            if ended {
                return Ok(Some((text, too_long)));
            }
        }
    }

    fn read(&self, text: &[u8]) -> Result<Row, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| match std::str::from_utf8(text) {
            Ok(_) => format!("no JSON: {}", without_line(&error)),
            Err(error) => format!("not UTF-8: {error}"),
        })?;
        let Value::Object(mut payload) = value else { return Err("no JSON object".into()) };
        let id = match payload.remove(ID) {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(Value::Number(id)) if !id.is_f64() => Some(id.to_string()),
            Some(other) => return Err(format!("id: {other} is neither a text nor a whole number")),
        };
        Ok(Row { line: self.line, id, payload: payload.into() })
    }
}

/// Without serde's own line, which is always 1 here and would be taken for the line in the file.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(&format!("at line {} column", error.line()), "at column")
}

impl<R: BufRead> Iterator for Rows<R> {
    /// An error of the file itself ends the rows; those before it are done.
    type Item = io::Result<Result<Row, BadRow>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (text, too_long) = match self.next_line() {
                Ok(line) => line?,
                Err(error) => return Some(Err(error)),
            };
            self.line += 1;
            let text = if self.line == 1 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text) } else { &text };
            if text.trim_ascii().is_empty() && !too_long {
                continue;
            }
            let read = if too_long { Err(format!("longer than {ROW_MAX_BYTES} bytes")) } else { self.read(text) };
            return Some(Ok(read.map_err(|reason| BadRow {
                line: self.line,
                reason,
                excerpt: String::from_utf8_lossy(text).chars().take(EXCERPT).collect(),
            })));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rows(text: &[u8]) -> Vec<Result<Row, BadRow>> {
        Rows::new(text).map(|row| row.unwrap()).collect()
    }

    fn row(line: u64, id: Option<&str>, payload: Value) -> Row {
        Row { line, id: id.map(Into::into), payload }
    }

    #[test]
    fn a_wrong_row_is_told_with_its_line_and_the_next_one_follows() {
        let found = rows(b"{\"a\":1}\n[1]\n\n{\"a\"\n\xff\xfe\n{\"id\":[]}\n{\"a\":2}");
        let lines: Vec<_> = found.iter().map(|row| row.as_ref().map_or_else(|bad| bad.line, |row| row.line)).collect();
        assert_eq!(lines, [1, 2, 4, 5, 6, 7]);
        let reasons: Vec<_> = found.iter().filter_map(|row| row.as_ref().err()).map(|bad| &bad.reason).collect();
        assert_eq!(reasons[0], "no JSON object");
        assert!(reasons[1].starts_with("no JSON: ") && reasons[2].starts_with("not UTF-8: "), "{reasons:?}");
        assert!(reasons[1].ends_with("at column 4") && !reasons[1].contains("line"), "{reasons:?}");
        assert_eq!(reasons[3], "id: [] is neither a text nor a whole number");
        assert_eq!(found[5], Ok(row(7, None, json!({"a": 2}))));
    }

    #[test]
    fn the_id_of_a_row_becomes_its_key_and_leaves_the_payload() {
        let found = rows(b"\xef\xbb\xbf{\"id\":\"lead-1\",\"a\":1}\r\n{\"id\":7}\n{\"id\":null}\n{\"id\":1.5}\n");
        assert_eq!(found[0], Ok(row(1, Some("lead-1"), json!({"a": 1}))));
        assert_eq!(found[1], Ok(row(2, Some("7"), json!({}))));
        assert_eq!(found[2], Ok(row(3, None, json!({}))));
        assert!(found[3].is_err());
    }

    #[test]
    fn an_enormous_row_is_passed_over_without_being_kept() {
        let mut text = vec![b'x'; ROW_MAX_BYTES + 1];
        text.extend_from_slice(b"\n{\"a\":1}\n");
        let found = rows(&text);
        assert_eq!(found[0].as_ref().unwrap_err().reason, format!("longer than {ROW_MAX_BYTES} bytes"));
        assert_eq!(found[1], Ok(row(2, None, json!({"a": 1}))));
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_row_a_line_that_is_not_blank(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let lines = text.split(|byte| *byte == b'\n').enumerate();
            let blank = |(n, line): (usize, &[u8])| {
                let line = if n == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
                line.trim_ascii().is_empty()
            };
            prop_assert_eq!(rows(&text).len(), lines.filter(|line| !blank(*line)).count());
        }
    }
}
