//! Clay's table webhook: one POST makes one row, and Clay enriches it later.
//!
//! Facts: 10 records/s per workspace, burst 20; 100 KB a record; 200 acknowledges the row, enriched data never comes back on
//! this answer but by an HTTP column that calls the application; no idempotency at all; the address alone is a credential;
//! a webhook takes 50,000 rows for life.
//! An account may have several tables: each is a target with a name.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::{Auth, Completion, CostRule, Operation, Profile, Repeat, Rule, Target, timeout};
use crate::{
    credits::Credits,
    ids::{MeterId, NameError, OperationId, VendorId},
    outcome::{Class, Effect},
};

/// The column in which a row carries our call id, so that the callback can name it.
pub const CORRELATION_COLUMN: &str = "mainstay_call_id";

/// What is particular to one Clay table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clay {
    /// The webhook's whole address. A secret. It has no default.
    #[serde(deserialize_with = "crate::secret::deserialize")]
    pub webhook: SecretString,
    /// The token of the header `x-clay-webhook-auth`, where the table asks for one.
    #[serde(deserialize_with = "crate::secret::optional")]
    pub token: Option<SecretString>,
    /// What one row may cost at most. Default 6 credits, the figure of the seed's example; Clay's own figures vary by table.
    pub credits_per_row: Credits,
    /// From the first byte to the answer; default 10 s, the seed's submission timeout.
    #[serde(with = "crate::duration")]
    pub timeout: Duration,
    /// How long after the row was taken its callback is owed; default 30 min, ours.
    #[serde(with = "crate::duration")]
    pub callback_within: Duration,
    /// Whether a row may be sent again when its effect is not known. Clay has no idempotency, so never by default; say
    /// `Always` for a table that de-duplicates on [`CORRELATION_COLUMN`].
    pub repeat: Repeat,
}

impl Default for Clay {
    fn default() -> Self {
        Self::table("")
    }
}

impl Clay {
    /// A table with the defaults above.
    pub fn table(webhook: impl Into<String>) -> Self {
        Self {
            webhook: SecretString::from(webhook.into()),
            token: None,
            credits_per_row: Credits::whole(6),
            timeout: timeout::CLAY_SUBMIT,
            callback_within: Duration::from_secs(30 * 60),
            repeat: Repeat::Never,
        }
    }

    /// The meter that counts the rows a webhook took.
    pub const ROWS: &'static str = "rows";

    /// How many rows one webhook takes for life, deleted ones included. (Enterprise tables that delete their rows by
    /// themselves have no such limit.)
    pub const ROWS_MAX: u64 = 50_000;

    /// The operation's name.
    pub const PUSH_ROW: &'static str = "push-row";

    /// The profile of an account with this one table, under the given vendor name.
    pub fn profile(self, vendor: &str) -> Result<Profile, NameError> {
        let table = Target::from(self);
        Ok(Profile {
            base_url: Some(table.base_url),
            auth: table.auth.unwrap_or(Auth::None),
            operations: table.operations,
            ..Self::account(vendor)?
        })
    }

    /// The profile of an account whose tables all have names: [`Profile::targets`], none yet.
    pub fn account(vendor: &str) -> Result<Profile, NameError> {
        Ok(Profile {
            vendor: VendorId::new(vendor)?,
            rules: vec![
                // Seen on Clay's older surfaces: an answer 200 whose body says that it was none.
                Rule::body("/success", false, Class::Server, Effect::None),
                // "Busy, did not take it": the row was not made. Every other 5xx leaves that open.
                Rule::status(503, 503, Class::Overload, Effect::None),
            ],
            ..Profile::empty()
        })
    }
}

impl From<Clay> for Target {
    fn from(table: Clay) -> Self {
        let push_row = Operation {
            timeout: table.timeout,
            repeat: table.repeat,
            correlation: Some(format!("/{CORRELATION_COLUMN}")),
            completion: Completion::Callback { within: table.callback_within, holds_slot: false },
            estimate: table.credits_per_row,
            also: [(MeterId::of_ours(Clay::ROWS), Credits::whole(1))].into(),
            cost: CostRule::Later,
            payload_max_bytes: 100_000,
            ..Operation::post("")
        };
        let auth = match table.token {
            Some(value) => Auth::Header { name: "x-clay-webhook-auth".into(), prefix: String::new(), value },
            None => Auth::None,
        };
        let operations = [(OperationId::of_ours(Clay::PUSH_ROW), push_row)].into();
        Self { base_url: table.webhook, auth: Some(auth), operations }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_words_lose_the_secrets_they_repeat_and_keep_the_rest() {
        let table = Clay {
            token: Some("token_canary".to_owned().into()),
            ..Clay::table("https://clay.test/v3/webhook/hook-canary-1?auth=query_canary_2")
        };
        let profile = table.profile("clay").unwrap();
        let words = "no webhook https://clay.test/v3/webhook/hook-canary-1?auth=query_canary_2 for token_canary";
        let redacted = "no webhook https://clay.test/v3/webhook/<redacted>?auth=<redacted> for <redacted>";
        assert_eq!(profile.redact(words), redacted);
        assert_eq!(profile.redact("HTTP 401: v3 is over"), "HTTP 401: v3 is over");
    }
}
