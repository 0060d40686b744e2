//! The rules of the house that no compiler holds, read from the sources as text. Each rule has a planted violation that
//! shows that it bites.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may")]

#[path = "tidy/bites.rs"]
mod bites;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;

use source::{File, function_of, has_word, read, tree};

/// The rooms of the fourth floor.
const CONCERNS: [&str; 8] = ["breaker", "budget", "bulkhead", "client", "dlq", "fallback", "health", "idempotency"];

/// Folders of `actors/src` that are no concern.
const NO_CONCERNS: [&str; 3] = ["fact", "kernel", "profile"];

/// Longest file, without the lines of its tests.
const LINES_MAX: usize = 400;

/// Files of tests that play a slow vendor or an actor that hangs.
const SLOW_ON_PURPOSE: [&str; 4] = [
    "tests/support/",
    "tests/every_call_is_answered/vendor.rs",
    "actors/tests/supervision/subject.rs",
    "src/supervision/testing.rs",
];

type Rule = fn(&[File]) -> Vec<String>;

const RULES: [(&str, Rule); 13] = [
    ("a concern names no sibling", no_sibling),
    ("the floors below the concerns name none of them", no_concern_from_below),
    ("a rule names no actix, tokio or reqwest", pure_rules),
    ("sled is named in src/store/sled_store.rs alone", sled_in_one_file),
    ("do_send stands in actors/src/kernel/hop.rs alone", one_door),
    ("no file has more than 400 lines without its tests", short_files),
    ("every mod.rs and lib.rs begins with its documentation", documented_modules),
    ("no test sleeps", no_sleep),
    ("nothing is ignored or left to do", nothing_left_to_do),
    ("the actors crate does not know the crate above it", arrows_point_downwards),
    ("no path of a machine", no_machine_paths),
    ("a test that a page names is there", named_tests_exist),
    ("a duration that is read has a form that people write: #[serde(with = \"..duration\")]", written_durations),
];

#[test]
fn the_house_is_tidy() {
    let files = read(&tree());
    assert!(files.iter().filter(|file| file.is_rust()).count() > 100, "the sources were not found");
    let problems: Vec<_> = RULES.iter().flat_map(|(name, rule)| broken(name, *rule, &files)).collect();
    assert!(problems.is_empty(), "{} violations:\n{}", problems.len(), problems.join("\n"));
}

fn broken(name: &str, rule: Rule, files: &[File]) -> Vec<String> {
    rule(files).into_iter().map(|at| format!("{at}   ({name})")).collect()
}

/// In code below `actors/src/<concern>/`, no path through `crate`, `super` or the crate's own name leads to another concern.
fn no_sibling(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some(room) = file.room() else { continue };
        if !CONCERNS.contains(&room) && !NO_CONCERNS.contains(&room) {
            problems.push(format!("{}:1: an unknown folder, say in tests/tidy.rs what {room} is", file.path));
        }
        if CONCERNS.contains(&room) {
            problems.extend(file.concerns_named().into_iter().filter(|(_, name)| *name != room).map(|at| file.at(at)));
        }
    }
    problems
}

/// Ground, vocabulary, kernel and profiles. `lib.rs` only lists the rooms.
fn no_concern_from_below(files: &[File]) -> Vec<String> {
    let below = |file: &&File| {
        file.path.starts_with("actors/src/")
            && file.path != "actors/src/lib.rs"
            && file.room().is_none_or(|room| NO_CONCERNS.contains(&room))
    };
    files.iter().filter(below).flat_map(|file| file.concerns_named().into_iter().map(|at| file.at(at))).collect()
}

/// Whatever is not behind the feature `runtime` and no test.
fn pure_rules(files: &[File]) -> Vec<String> {
    let in_actors = files.iter().filter(|file| file.path.starts_with("actors/src/") && file.is_rust());
    in_actors
        .flat_map(|file| {
            let pure = |n: &usize| !file.runtime[*n] && !file.test[*n];
            file.lines_with(&["actix", "tokio", "reqwest"])
                .into_iter()
                .filter(move |(n, _)| pure(n))
                .map(|at| file.at(at))
        })
        .collect()
}

/// As the head of a path; a variable may have the name.
fn sled_in_one_file(files: &[File]) -> Vec<String> {
    let heads = |line: &str| {
        has_word(line, "sled") && ["sled::", "use sled", "crate sled"].iter().any(|head| line.contains(head))
    };
    only_in(files, "src/store/sled_store.rs", "sled", heads)
}

fn one_door(files: &[File]) -> Vec<String> {
    only_in(files, "actors/src/kernel/hop.rs", "do_send", |line| has_word(line, "do_send"))
}

fn only_in(files: &[File], home: &str, what: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let elsewhere = files.iter().filter(|file| file.is_rust() && file.path != home);
    let lines = elsewhere.flat_map(|file| file.code.iter().enumerate().map(move |(n, line)| (file, n, line)));
    lines.filter(|(_, _, line)| is_there(line)).map(|(file, n, _)| file.at((n, what))).collect()
}

fn short_files(files: &[File]) -> Vec<String> {
    let lines = |file: &File| file.test.iter().filter(|test| !**test).count();
    let long = files.iter().filter(|file| file.is_rust() && lines(file) > LINES_MAX);
    long.map(|file| format!("{}:{}: {} lines", file.path, LINES_MAX + 1, lines(file))).collect()
}

/// The root's `lib.rs` may take the README instead.
fn documented_modules(files: &[File]) -> Vec<String> {
    let is_module = |file: &&File| file.path.ends_with("/mod.rs") || file.path.ends_with("lib.rs");
    let says_why = |file: &File| {
        file.raw.starts_with("//!") || (file.path == "src/lib.rs" && file.raw.starts_with("#![doc = include_str!("))
    };
    let silent = files.iter().filter(is_module).filter(|file| !says_why(file));
    silent.map(|file| format!("{}:1: does not begin with //!", file.path)).collect()
}

/// In tests, `sleep(` may stand where it costs no time, in a file that pauses tokio's clock; between two looks for a fact,
/// directly below a `while` or in a function whose name begins with `until`; and where something is slow on purpose. A paused
/// clock does not move `thread::sleep`, so that one needs the second or the third reason.
fn no_sleep(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    let strict = |file: &&File| file.is_rust() && !SLOW_ON_PURPOSE.iter().any(|slow| file.path.starts_with(slow));
    for file in files.iter().filter(strict) {
        let paused = file.code.iter().any(|line| line.contains("start_paused") || has_word(line, "paused"));
        let mut function = "";
        for (n, line) in file.code.iter().enumerate() {
            function = function_of(line).unwrap_or(function);
            let sleeps = file.test[n] && has_word(line, "sleep") && line.contains("sleep(");
            let harmless = paused && !line.contains("thread::sleep(");
            let above = n.checked_sub(1).map_or("", |n| file.code[n].trim_start());
            let looks = function.starts_with("until") || above.starts_with("while ");
            if sleeps && !harmless && !looks {
                problems.push(file.at((n, "sleep")));
            }
        }
    }
    problems
}

/// In types that serde reads. Its own form of a duration, seconds and nanoseconds apart, is one that nobody writes.
fn written_durations(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let (mut is_read, mut above) = (false, "");
        for (n, line) in file.code.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            is_read = (is_read && line != "}") || (line.contains("derive(") && has_word(line, "Deserialize"));
            let field = line.contains(": Duration,") || line.contains(": Option<Duration>,");
            if is_read && field && !above.contains("with = ") {
                problems.push(file.at((n, "Duration")));
            }
            above = line;
        }
    }
    problems
}

fn nothing_left_to_do(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (n, line) in file.code.iter().enumerate() {
            let left = ["#[ignore", "todo!", "unimplemented!"].into_iter().filter(|word| line.contains(word));
            problems.extend(left.map(|word| file.at((n, word))));
        }
    }
    problems
}

fn arrows_point_downwards(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("actors/")) {
        let manifest = file.path == "actors/Cargo.toml";
        let lines: Vec<&str> = if manifest { file.raw.lines().collect() } else { file.code_lines() };
        for (n, line) in lines.into_iter().enumerate() {
            let depends = manifest && (line.starts_with("mainstay ") || line.starts_with("mainstay."));
            if depends || (file.is_rust() && line.contains("mainstay::")) {
                problems.push(file.at((n, "mainstay")));
            }
        }
    }
    problems
}

/// The pages that say which promise is held by which test; the last cell of a row names it in backticks.
const PAGES: [&str; 3] = ["docs/requirements.md", "docs/defects.md", "docs/peers.md"];

fn named_tests_exist(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.is_rust());
    let known: BTreeSet<_> = rust.flat_map(|file| file.code.iter().filter_map(|line| function_of(line))).collect();
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| PAGES.contains(&file.path.as_str())) {
        for (n, line) in file.raw.lines().enumerate().filter(|(_, line)| line.starts_with("| ")) {
            let cell = line.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
            let names = cell.split('`').skip(1).step_by(2).filter(|name| !known.contains(name));
            problems.extend(names.map(|name| file.at((n, name))));
        }
    }
    problems
}

/// In every file, comments and texts included.
fn no_machine_paths(files: &[File]) -> Vec<String> {
    const PLACES: [&str; 6] = [
        concat!("/wo", "rk/"),
        concat!("/tm", "p/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("C:", "\\"),
    ];
    let mut problems = Vec::new();
    for file in files {
        for (n, line) in file.raw.lines().enumerate() {
            let here = PLACES.into_iter().filter(|place| {
                line.match_indices(place)
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "./-_}".contains(c)))
            });
            problems.extend(here.map(|place| file.at((n, place))));
        }
    }
    problems
}
