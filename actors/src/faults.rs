//! Everything that is wrong with a configuration, at once, by field, with the allowed range.

use std::fmt;

/// One wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The path of the field, such as `vendors.clay.breaker.failure_ratio`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Collects faults under a path, so that one start-up names them all.
///
/// ```
/// use mainstay_actors::faults::Faults;
///
/// let mut faults = Faults::default();
/// faults.under("breaker").require(1.5 <= 1.0, "failure_ratio", || "1.5 is not within 0.0..=1.0".into());
/// assert_eq!(faults.into_result().unwrap_err()[0].to_string(), "breaker.failure_ratio: 1.5 is not within 0.0..=1.0");
/// ```
#[derive(Debug, Default)]
pub struct Faults {
    path: Vec<String>,
    found: Vec<Fault>,
}

/// A scope of [`Faults`]: what is found in it is named under its path.
#[derive(Debug)]
pub struct Under<'a> {
    faults: &'a mut Faults,
}

impl Faults {
    /// Enters a part of the configuration.
    pub fn under(&mut self, part: &str) -> Under<'_> {
        self.path.push(part.to_owned());
        Under { faults: self }
    }

    /// Notes a fault unless `fine`.
    pub fn require(&mut self, fine: bool, field: &str, problem: impl FnOnce() -> String) {
        if fine {
            return;
        }
        let mut path = self.path.clone();
        path.push(field.to_owned());
        self.found.push(Fault { field: path.join("."), problem: problem() });
    }

    /// Nothing found, or everything found.
    pub fn into_result(self) -> Result<(), Vec<Fault>> {
        if self.found.is_empty() { Ok(()) } else { Err(self.found) }
    }
}

impl std::ops::Deref for Under<'_> {
    type Target = Faults;
    fn deref(&self) -> &Faults {
        self.faults
    }
}

impl std::ops::DerefMut for Under<'_> {
    fn deref_mut(&mut self) -> &mut Faults {
        self.faults
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.faults.path.pop();
    }
}
