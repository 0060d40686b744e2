//! One operation of a vendor: where it goes, how long it may take, how it may be repeated, when it is done.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Amount, Charge, Completion, CostRule, EndRules, Reconcile, RequestError, Rule, check_rules, cost::check_amounts,
    path, pointer,
};
use crate::{
    credits::Credits,
    faults::Faults,
    hours::Hours,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Whether the payload is the body. Without one it is the query.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// How an operation may be sent again when its effect is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Repeat {
    /// Never: the effect may have happened, and twice is worse than not at all. Reconciled, or parked for a person.
    Never,
    /// With the same key, inside the vendor's window.
    WithKey {
        /// How long the vendor remembers a key.
        #[serde(with = "crate::duration")]
        window: Duration,
    },
    /// Always: it changes nothing, or twice is as good as once.
    Always,
}

/// Where the idempotency key of a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyCarrier {
    /// Not at all.
    None,
    /// In a header.
    Header(String),
    /// In a field of the body.
    Body(String),
}

/// One operation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Operation {
    /// The HTTP method; default `POST`. The payload is the body of a POST, PUT or PATCH and the query of a GET or DELETE.
    pub method: Method,
    /// The path below the profile's base address; may be empty. A name in braces, `/v2/get-call/{call_id}`, is filled from
    /// the member of that name, which is taken out of the payload.
    pub path: String,
    /// The operations that fail together with this one: each group has a breaker of its own at each place. Default none,
    /// which is a group too.
    pub group: Option<GroupId>,
    /// From the first byte to the whole answer, up to an hour; default 30 s (the seeds).
    #[serde(with = "crate::duration")]
    pub timeout: Duration,
    /// The hours in which its effect may begin, in a queue's drain and a replay too; default always.
    pub hours: Option<Hours>,
    /// How it may be repeated; default never, of a GET too: many vendors charge for a look-up.
    pub repeat: Repeat,
    /// Where its key comes from; default the content.
    pub key_source: KeySource,
    /// How its key travels; default not at all.
    pub key_carrier: KeyCarrier,
    /// A JSON pointer at which our call id is put, so that a callback can name it; its parents must be objects. Default none.
    pub correlation: Option<String>,
    /// A JSON pointer in the answer to the vendor's own name for the effect; default none.
    pub vendor_ref: Option<String>,
    /// When it is done; default with the answer.
    pub completion: Completion,
    /// What is reserved for it on the vendor's main meter, in the profile's unit; default 0.
    pub estimate: Credits,
    /// A JSON pointer to a list in the payload: the estimate is for each of its items. Default none: it is for the call.
    pub estimate_for_each: Option<String>,
    /// What it costs on other meters, for budgets that limit them: `rows = 1`. Default nothing.
    pub also: BTreeMap<MeterId, Credits>,
    /// What it really cost on the main meter; default the estimate.
    pub cost: CostRule,
    /// Where an answer says what it really cost on other meters; default nowhere, and what was reserved is taken for spent.
    pub also_cost: BTreeMap<MeterId, Amount>,
    /// What the vendor charges for an answer of a class that is no success, where that differs from the usual: nothing when
    /// it had no effect, `cost` when it had one. An unknown effect stays reserved whatever stands here.
    pub charge: BTreeMap<Class, Charge>,
    /// A JSON pointer in an answer of the class `exhausted` to the moment of the vendor's own reset, as RFC 3339 or in seconds
    /// since 1970; default none: its `Retry-After`, else the end of the budget's day.
    pub resets_at: Option<String>,
    /// Largest payload, in bytes of JSON, up to 16 MiB; default 100,000.
    pub payload_max_bytes: usize,
    /// Fields that must be there, as JSON pointers; what is in the path must be there anyway.
    pub required: Vec<String>,
    /// How its answers are read, before the profile's own rules.
    pub rules: Vec<Rule>,
    /// How the end of its effect is read, where that comes later.
    pub end: EndRules,
    /// How it is found out whether it happened, when nobody knows; default not at all.
    pub reconcile: Option<Reconcile>,
}

impl Default for Operation {
    fn default() -> Self {
        Self::post("")
    }
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
            hours: None,
            repeat: Repeat::Never,
            key_source: KeySource::Content,
            key_carrier: KeyCarrier::None,
            correlation: None,
            vendor_ref: None,
            completion: Completion::Answer,
            estimate: Credits::ZERO,
            also: BTreeMap::new(),
            estimate_for_each: None,
            cost: CostRule::Estimate,
            also_cost: BTreeMap::new(),
            charge: BTreeMap::new(),
            resets_at: None,
            payload_max_bytes: 100_000,
            required: Vec::new(),
            rules: Vec::new(),
            end: EndRules::default(),
            reconcile: None,
        }
    }

    /// A question that is free, or a change that is as good twice as once: it may always be repeated, and is done anew each
    /// time.
    pub fn harmless(method: Method, path: impl Into<String>) -> Self {
        let (repeat, key_source) = (Repeat::Always, KeySource::None);
        Self { method, repeat, key_source, cost: CostRule::Free, ..Self::post(path) }
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
        path::check(&self.path, faults);
        if let Some(hours) = &self.hours {
            hours.check(&mut faults.under("hours"));
        }
        faults.require((1..=16 << 20).contains(&self.payload_max_bytes), "payload_max_bytes", || {
            format!("{} is not within 1..=16777216", self.payload_max_bytes)
        });
        let one_place = [
            ("correlation", &self.correlation),
            ("vendor_ref", &self.vendor_ref),
            ("estimate_for_each", &self.estimate_for_each),
            ("resets_at", &self.resets_at),
        ];
        let required = self.required.iter().map(|at| ("required", at));
        for (field, at) in one_place.into_iter().filter_map(|(field, at)| Some((field, at.as_ref()?))).chain(required) {
            pointer::check_one(at, field, faults);
        }
        for class in [Class::Success, Class::Abandoned] {
            faults.require(!self.charge.contains_key(&class), "charge", || {
                format!("{class} is no answer to charge for by class: what a success costs is said by `cost`")
            });
        }
        let asks = self.key_source != KeySource::None || self.repeat == Repeat::Always;
        faults.require(asks, "key_source", || "an operation without a key must say repeat: always".into());
        let keyed = matches!(self.key_carrier, KeyCarrier::Body(_));
        faults.require(self.method.has_body() || !keyed, "key_carrier", || {
            format!("a {} has no body that could carry a key", self.method.as_str())
        });
        self.cost.check(&mut faults.under("cost"));
        check_amounts(&self.also_cost, "also_cost", faults);
        check_rules(&self.rules, "rules", faults);
        self.completion.check(&mut faults.under("completion"));
        self.end.check(&mut faults.under("end"));
        if let Some(reconcile) = &self.reconcile {
            reconcile.check(&mut faults.under("reconcile"));
            faults.require(self.correlation.is_some(), "correlation", || {
                "is needed to reconcile: where the call id is that is looked for".into()
            });
        }
    }

    /// What is reserved for a call with this payload.
    pub fn estimate_of(&self, payload: &Value) -> Credits {
        let list = self.estimate_for_each.as_ref().and_then(|at| payload.pointer(at)?.as_array());
        list.map_or(self.estimate, |items| self.estimate.times(items.len()))
    }

    /// The members of the payload that its path is filled from.
    pub fn path_members(&self) -> impl Iterator<Item = &str> {
        path::placeholders(&self.path)
    }

    /// What of a payload its request could not carry, before anything is spent on it.
    ///
    /// # Errors
    ///
    /// A field that is needed and not there, a value that fits into no path or query.
    pub fn check_payload(&self, payload: &Value) -> Result<(), RequestError> {
        for at in &self.required {
            if payload.pointer(at).is_none_or(Value::is_null) {
                return Err(RequestError::new(at, "is needed by this operation"));
            }
        }
        if self.method.has_body() && self.path_members().next().is_none() {
            return Ok(());
        }
        let mut rest = payload.clone();
        path::fill(&self.path, &mut rest)?;
        match rest {
            Value::Object(members) if !self.method.has_body() => path::query(&members).map(|_| ()),
            _ => Ok(()),
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
        self.completion.owed().is_some_and(|owed| owed.holds_slot)
    }
}
