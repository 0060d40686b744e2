//! One operation of a vendor: where it goes, how long it may take, how it may be repeated, when it is done.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;

use super::{Charge, CostRule};
use crate::{
    credits::Credits,
    faults::Faults,
    ids::{GroupId, MeterId},
    outcome::Class,
};

/// The seeds' request timeouts by kind of operation, for a vendor's profile to choose from. The seeds' fourth, 5 s to connect,
/// is the client's.
pub mod timeout {
    use std::time::Duration;

    /// A usual request.
    pub const REQUEST: Duration = Duration::from_secs(30);
    /// An upload.
    pub const UPLOAD: Duration = Duration::from_secs(120);
    /// A long poll.
    pub const LONG_POLL: Duration = Duration::from_secs(300);
    /// Seed B's submission of a row to Clay.
    pub const CLAY_SUBMIT: Duration = Duration::from_secs(10);
    /// Placing a phone call, as in Retell's own SDK.
    pub const RETELL_CREATE: Duration = Duration::from_secs(120);
}

/// The HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Read.
    Get,
    /// Do.
    Post,
    /// Replace.
    Put,
    /// Change.
    Patch,
    /// Remove.
    Delete,
}

impl Method {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// How a call proves who it is. Secrets are redacted by type in every `Debug` and log.
#[derive(Clone)]
pub enum Auth {
    /// Nothing, or the address itself is the secret.
    None,
    /// `Authorization: Bearer <key>`.
    Bearer(SecretString),
    /// A header of the vendor's own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretString,
    },
}

impl Auth {
    /// The secret in it.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Bearer(key) | Self::Header { value: key, .. } => Some(key.expose_secret()),
        }
    }

    /// Notes what is wrong with it.
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.require(self.can_travel(), "auth", || {
            "must be 1 or more visible ASCII characters, as a header's name and value are (not shown: it is a secret)".into()
        });
    }

    /// Whether a header takes it. An empty key is a forgotten one.
    fn can_travel(&self) -> bool {
        let visible = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            plain && !text.is_empty() && text.trim() == text
        };
        match self {
            Self::None => true,
            Self::Bearer(key) => visible(key.expose_secret()),
            Self::Header { name, value } => {
                visible(name) && !name.contains([' ', ':']) && visible(value.expose_secret())
            }
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(_) => f.write_str("Bearer(<redacted>)"),
            Self::Header { name, .. } => write!(f, "Header({name}: <redacted>)"),
        }
    }
}

/// How an operation may be sent again when its effect is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// Never: the effect may have happened, and twice is worse than not at all. Reconciled, or parked for a person.
    Never,
    /// With the same key, inside the vendor's window.
    WithKey {
        /// How long the vendor remembers a key.
        window: Duration,
    },
    /// Always: it changes nothing, or twice is as good as once.
    Always,
}

/// Where the idempotency key of a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// From the caller if it gives one, else from the content: equal content is the same effect.
    Content,
    /// From the caller only: two calls to one number are two effects, so a call without a key is refused.
    Caller,
    /// From the caller if it gives one, else there is none: a question, which is asked anew each time and gets no stored
    /// answer. Only for operations that may always be repeated.
    None,
}

/// How the key travels to the vendor: 64 hexadecimal digits, or a UUID of 36 characters for a call by operation id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyCarrier {
    /// Not at all.
    None,
    /// In a header.
    Header(String),
    /// In a field of the body.
    Body(String),
}

/// When an operation's effect is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Completion {
    /// The answer is the end.
    Answer,
    /// The answer says "accepted"; the end comes by callback. Overdue when none came in time.
    Callback {
        /// How long after the answer the end is owed.
        within: Duration,
        /// Whether a slot is held until then (a phone call) or only the money (a table row).
        holds_slot: bool,
    },
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The HTTP method.
    pub method: Method,
    /// The path below the profile's base address; may be empty.
    pub path: String,
    /// The operations that fail together with this one: each group has a breaker of its own at each place. Default none,
    /// which is a group too.
    pub group: Option<GroupId>,
    /// From the first byte to the whole answer.
    pub timeout: Duration,
    /// How it may be repeated.
    pub repeat: Repeat,
    /// Where its key comes from.
    pub key_source: KeySource,
    /// How its key travels.
    pub key_carrier: KeyCarrier,
    /// A JSON pointer at which our call id is put, so that a callback can name it; its parents must be objects.
    pub correlation: Option<String>,
    /// A JSON pointer in the answer to the vendor's own name for the effect.
    pub vendor_ref: Option<String>,
    /// When it is done.
    pub completion: Completion,
    /// What is reserved for it on the vendor's main meter.
    pub estimate: Credits,
    /// What it costs on other meters, for budgets that limit them: `rows = 1`. Default nothing.
    pub also: BTreeMap<MeterId, Credits>,
    /// What it really cost.
    pub cost: CostRule,
    /// What the vendor charges for an answer of a class that is no success, where that differs from the usual: nothing when
    /// it had no effect, `cost` when it had one. An unknown effect stays reserved whatever stands here.
    pub charge: BTreeMap<Class, Charge>,
    /// A JSON pointer in an answer of the class `exhausted` to the moment of the vendor's own reset, as RFC 3339 or in seconds
    /// since 1970; default none: its `Retry-After`, else the end of the budget's day.
    pub resets_at: Option<String>,
    /// Largest payload, in bytes of JSON.
    pub payload_max_bytes: usize,
    /// Fields that must be there, as JSON pointers.
    pub required: Vec<String>,
}

impl Operation {
    /// A POST below the base address whose answer is the end, that may never be repeated and costs nothing: the careful
    /// side of each choice. Timeout 30 s (the seeds), payload up to 100 kB.
    ///
    /// ```
    /// use mainstay_actors::{credits::Credits, profile::Operation};
    ///
    /// let lookup = Operation { estimate: Credits::whole(1), ..Operation::post("/v1/lookup") };
    /// assert!(!lookup.holds_slot());
    /// ```
    pub fn post(path: impl Into<String>) -> Self {
        Self {
            method: Method::Post,
            path: path.into(),
            group: None,
            timeout: timeout::REQUEST,
            repeat: Repeat::Never,
            key_source: KeySource::Content,
            key_carrier: KeyCarrier::None,
            correlation: None,
            vendor_ref: None,
            completion: Completion::Answer,
            estimate: Credits::ZERO,
            also: BTreeMap::new(),
            cost: CostRule::Estimate,
            charge: BTreeMap::new(),
            resets_at: None,
            payload_max_bytes: 100_000,
            required: Vec::new(),
        }
    }

    /// What a function of the application does: the same careful choices, and no request.
    pub fn function() -> Self {
        Self::post("")
    }

    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let hour = Duration::from_secs(3600);
        faults.require(!self.timeout.is_zero() && self.timeout <= hour, "timeout", || {
            format!("{:?} is not within 1ms..=1h", self.timeout)
        });
        faults.require(self.path.is_empty() || self.path.starts_with('/'), "path", || {
            format!("{:?} must be empty or begin with /", self.path)
        });
        faults.require((1..=16 << 20).contains(&self.payload_max_bytes), "payload_max_bytes", || {
            format!("{} is not within 1..=16777216", self.payload_max_bytes)
        });
        let pointers = self.required.iter().chain(&self.correlation).chain(&self.vendor_ref).chain(&self.resets_at);
        for pointer in pointers {
            faults.require(pointer.starts_with('/'), "pointer", || {
                format!("{pointer:?} is no JSON pointer: begin with /")
            });
        }
        for class in [Class::Success, Class::Abandoned] {
            faults.require(!self.charge.contains_key(&class), "charge", || {
                format!("{class} is no answer to charge for by class: what a success costs is said by `cost`")
            });
        }
        let asks = self.key_source != KeySource::None || self.repeat == Repeat::Always;
        faults.require(asks, "key_source", || "an operation without a key must say repeat: always".into());
        if let Completion::Callback { within, .. } = self.completion {
            faults.require(!within.is_zero(), "completion.within", || "must be longer than nothing".into());
        }
    }

    /// How long it is to the reset that an answer states.
    pub fn until_reset(&self, body: &Value, wall: Timestamp) -> Option<Duration> {
        let stated = body.pointer(self.resets_at.as_ref()?)?;
        let at = match stated {
            Value::String(text) => text.parse().ok()?,
            number => Timestamp::from_second(number.as_i64()?).ok()?,
        };
        Some(Duration::try_from(at.duration_since(wall)).unwrap_or(Duration::ZERO))
    }

    /// Whether a slot is held until the effect ends.
    pub fn holds_slot(&self) -> bool {
        matches!(self.completion, Completion::Callback { holds_slot: true, .. })
    }
}
