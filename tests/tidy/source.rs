//! The sources as the rules see them.

use std::{collections::BTreeSet, fs, path::Path};

use super::CONCERNS;

/// One file. `code` is the text without comments and without what stands in quotes, line by line.
pub(super) struct File {
    pub(super) path: String,
    pub(super) raw: String,
    pub(super) code: Vec<String>,
    /// Lines of tests.
    pub(super) test: Vec<bool>,
    /// Lines that exist only with the feature `runtime`.
    pub(super) runtime: Vec<bool>,
}

impl File {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(super) fn at(&self, (line, what): (usize, &str)) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }

    pub(super) fn code_lines(&self) -> Vec<&str> {
        self.code.iter().map(String::as_str).collect()
    }

    /// The folder below `actors/src`, if it is in one.
    pub(super) fn room(&self) -> Option<&str> {
        self.path.strip_prefix("actors/src/")?.split_once('/').map(|(room, _)| room)
    }

    pub(super) fn lines_with(&self, words: &[&'static str]) -> Vec<(usize, &'static str)> {
        let found = |(n, line): (usize, &String)| {
            words.iter().filter(|word| has_word(line, word)).map(move |word| (n, *word)).collect::<Vec<_>>()
        };
        self.code.iter().enumerate().flat_map(found).collect()
    }

    /// Concerns that are named by a path, and where.
    pub(super) fn concerns_named(&self) -> Vec<(usize, &'static str)> {
        let code = self.code.join("\n");
        let mut named = Vec::new();
        for root in ["crate::", "super::", "mainstay_actors::"] {
            for (at, _) in code.match_indices(root).filter(|(at, _)| !code[..*at].ends_with(is_of_word)) {
                for (offset, name) in heads(&code[at + root.len()..]) {
                    let line = code[..at + root.len() + offset].matches('\n').count();
                    named.extend(CONCERNS.iter().filter(|concern| **concern == name).map(|concern| (line, *concern)));
                }
            }
        }
        named
    }
}

/// The first names of a path, or of each path in a group in braces, with their places.
fn heads(path: &str) -> Vec<(usize, &str)> {
    let word = |at: usize| (at, path[at..].split(|c| !is_of_word(c)).next().unwrap_or_default());
    if !path.starts_with('{') {
        return vec![word(0)];
    }
    let (mut depth, mut expected, mut found) = (0, false, Vec::new());
    for (at, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 1 && expected && is_of_word(c) => found.push(word(at)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        expected = depth == 1 && (matches!(c, '{' | ',') || (expected && c.is_whitespace()));
    }
    found
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_of_word) && !line[at + word.len()..].starts_with(is_of_word))
}

pub(super) fn function_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ").filter(|(before, _)| !before.ends_with(is_of_word))?;
    rest.split(|c| !is_of_word(c)).next().filter(|name| !name.is_empty())
}

/// Every text file of the tree, by its path from the root.
pub(super) fn tree() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut todo, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            // Version control, and whatever cargo has built.
            let skipped = entry.ends_with(".git") || entry.join("CACHEDIR.TAG").exists();
            match entry.is_dir() {
                _ if skipped => {}
                true => todo.push(entry),
                false => found.extend(fs::read_to_string(&entry).ok().map(|text| (relative(root, &entry), text))),
            }
        }
    }
    found.sort();
    found
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/")
}

/// Reads the sources: blanks comments and quotes, and marks which lines are tests or need the feature `runtime`.
pub(super) fn read(files: &[(String, String)]) -> Vec<File> {
    let mut gated = [BTreeSet::new(), BTreeSet::new()];
    let mut read = Vec::new();
    for (path, raw) in files {
        let code: Vec<String> =
            if path.ends_with(".rs") { blank(raw).lines().map(Into::into).collect() } else { Vec::new() };
        let [test, runtime] = ["#[cfg(test)]", "#[cfg(feature = \"runtime\")]"].map(|cfg| gates(path, raw, &code, cfg));
        gated[0].extend(test.1);
        gated[1].extend(runtime.1);
        read.push(File { path: path.clone(), raw: raw.clone(), code, test: test.0, runtime: runtime.0 });
    }
    for file in &mut read {
        let module = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let behind = |gates: &BTreeSet<String>| {
            gates.iter().any(|gate| {
                module.strip_prefix(gate.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let is_test = module.starts_with("tests/") || module.contains("/tests/") || module.ends_with("/tests");
        if is_test || behind(&gated[0]) {
            file.test.fill(true);
        }
        if behind(&gated[1]) {
            file.runtime.fill(true);
        }
    }
    read
}

/// Which lines stand behind a `cfg`, and which modules in files of their own do.
fn gates(path: &str, raw: &str, code: &[String], cfg: &str) -> (Vec<bool>, Vec<String>) {
    let mut behind = vec![false; code.len()];
    let mut modules = Vec::new();
    for (n, line) in raw.lines().enumerate() {
        if !line.trim_start().starts_with(cfg)
            || !code.get(n).is_some_and(|code| code.trim_start().starts_with("#[cfg"))
        {
            continue;
        }
        let first =
            (n + 1..code.len()).find(|n| !code[*n].trim().is_empty() && !code[*n].trim_start().starts_with("#["));
        let Some(first) = first else { continue };
        let end = first + end_of_item(&code[first..]);
        behind[n..=end].fill(true);
        if let Some((_, name)) =
            code[first].trim_end().trim_end_matches(';').split_once("mod ").filter(|_| code[first].contains(';'))
        {
            let stem = path.trim_end_matches(".rs");
            let dir = ["/mod", "/lib", "/main"].iter().find_map(|own| stem.strip_suffix(own)).unwrap_or(stem);
            modules.push(format!("{dir}/{name}"));
        }
    }
    (behind, modules)
}

/// The last line of the item, statement or field that begins here: at the end of its braces, else at its `;` or `,`.
fn end_of_item(code: &[String]) -> usize {
    let field = !["fn ", "mod ", "use ", "impl", "struct ", "enum ", "trait ", "type ", "const ", "static "]
        .iter()
        .any(|word| code[0].contains(word));
    let mut depth = 0_i32;
    for (n, line) in code.iter().enumerate() {
        for c in line.chars() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth -= 1,
                _ => {}
            }
            let is_end = matches!(c, '}' | ';') || (c == ',' && field);
            if depth < 0 || (depth == 0 && is_end) {
                return n;
            }
        }
    }
    code.len() - 1
}

/// Replaces what stands in comments and in quotes by spaces; every line keeps its place.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = out.ends_with(is_of_word);
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest, "\"", true),
            'r' if !after_word && (rest.starts_with("r\"") || rest.starts_with("r#")) => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        let (hidden, shown) = (length.max(first.len_utf8()), length == 0);
        out.extend(rest[..hidden].chars().map(|c| if shown || c == '\n' { c } else { ' ' }));
        rest = &rest[hidden..];
    }
    out
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    match text[1 + hashes..].starts_with('"') {
        true => 1 + hashes + quoted(&text[1 + hashes..], &format!("\"{}", "#".repeat(hashes)), false),
        false => 0,
    }
}

/// The length of what begins with a quote and ends with `end`.
fn quoted(text: &str, end: &str, escapes: bool) -> usize {
    let mut at = 1;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(end) {
            return at + end.len();
        }
        let escape = if escapes && rest.starts_with('\\') { 1 } else { 0 };
        at += escape + rest[escape..].chars().next().map_or(1, char::len_utf8);
    }
    text.len()
}

/// The length of a character in quotes; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text[1..].chars();
    match inside.next() {
        Some('\\') => quoted(text, "'", true),
        Some(c) if inside.next() == Some('\'') => 2 + c.len_utf8(),
        _ => 0,
    }
}
