//! Configuration from a TOML file, with the environment over it: the same plan as the [`Builder`]'s.
//!
//! # Why it exists
//!
//! An operator changes a limit without a build, and keeps secrets out of files. What is read here ends in the same plan that code would make, is checked by the same rules, and every problem is named at
//! once: by field, with the allowed range.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = r#"
//!     [vendors.clay.budget]
//!     daily_limit = 500
//!
//!     [vendors.clay.profile.clay]
//!     webhook = "https://api.clay.com/v3/sources/webhook/pull-in-data-from-a-webhook-..."
//! "#;
//! let builder = mainstay::settings::parse(file)?; // `load` reads a file, and the environment over it
//! # let _ = builder;
//! # Ok(())
//! # }
//! ```
//!
//! # The tables
//!
//! `[runtime]` has everything that is not one vendor's ([`RuntimeConfig`](crate::RuntimeConfig)). `[vendors.NAME]` has one
//! vendor: in `profile` what it is ([`ProfileSpec`](crate::ProfileSpec)), in `preset` a set of numbers
//! ([`Preset`](crate::Preset)), then any of `lanes`, `gate`, `breaker`, `budget`, `client`, `keys`, `fallback`, `letters`,
//! `probe`, `retry`. What is not said is as the vendor's constructor has it. `mainstay config --example` prints all of it with comments
//! ([`EXAMPLE`]).
//!
//! # The environment
//!
//! `MAINSTAY_RUNTIME__...` and `MAINSTAY_VENDORS__...` go over the file, two underscores between the parts:
//! `MAINSTAY_VENDORS__RETELL__PROFILE__RETELL__API_KEY=key_...`. A secret in the file may also name its variable: `{ env = "NAME" }`. A vendor's name in the environment is read in lower case. What looks like a number is one there: a
//! secret of digits alone has quotes of its own, `'"0042"'`, or is named by `{ env = "NAME" }`, which takes it as it is.
//!
//! # Limits
//!
//! A file has at most [`FILE_MAX_BYTES`].

mod profile;
mod section;
mod tables;

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use figment::{
    Figment, Provider as _,
    providers::{Env, Format as _, Toml},
};
use mainstay_actors::faults::Fault;

use crate::{builder::Builder, plan::Plan};

/// A complete configuration with comments.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Largest file: a thousand times what a person writes.
pub const FILE_MAX_BYTES: u64 = 1 << 20;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{file}: {problem}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        problem: String,
    },
    /// It is no TOML, or says what cannot be. Every fault is named.
    #[error("the configuration has {} fault(s):{}", .0.len(), crate::error::lines(.0))]
    Faults(Vec<Fault>),
}

/// Reads a file, and the environment over it.
///
/// # Errors
///
/// [`SettingsError`] with every fault of the configuration at once.
pub fn load(file: impl AsRef<Path>) -> Result<Builder, SettingsError> {
    let file = file.as_ref();
    let unreadable = |problem: String| SettingsError::Unreadable { file: file.display().to_string(), problem };
    let text = read_text(file).map_err(|error| unreadable(error.to_string()))?;
    let ours = |name: &figment::value::UncasedStr| name.starts_with("runtime__") || name.starts_with("vendors__");
    read(
        &Figment::from(Toml::string(&text))
            .merge(Env::prefixed("MAINSTAY_").filter(move |name| ours(name)).split("__")),
    )
}

/// The text of a file; of one without a length, such as a pipe or a device, no more than is allowed.
fn read_text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::other(format!("more than the {FILE_MAX_BYTES} bytes a configuration may have")));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::other(format!("not UTF-8: {}", error.utf8_error())))
}

/// Reads a text, without the environment.
///
/// # Errors
///
/// [`SettingsError::Faults`] with every fault at once.
pub fn parse(text: &str) -> Result<Builder, SettingsError> {
    read(&Figment::from(Toml::string(text)))
}

fn read(from: &Figment) -> Result<Builder, SettingsError> {
    // Of what is no TOML there is nothing more to say.
    if let Err(error) = from.data() {
        let faults = error.into_iter().map(|error| Fault { field: "file".into(), problem: error.to_string() });
        return Err(SettingsError::Faults(faults.collect()));
    }
    let mut faults = Vec::new();
    let (runtime, vendors) = tables::read(from, &mut faults);
    // What can be read is checked too, so that one look shows everything.
    if let Err(more) = Plan::of(runtime.clone(), vendors.clone()) {
        // In a file, what is not one vendor's stands in a table.
        faults.extend(more.into_iter().map(|fault| match fault.field.starts_with("vendors") {
            true => fault,
            false => Fault { field: format!("runtime.{}", fault.field), ..fault },
        }));
    }
    if faults.is_empty() { Ok(Builder::of(runtime, vendors)) } else { Err(SettingsError::Faults(faults)) }
}
