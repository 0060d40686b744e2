//! `[vendors.NAME.profile]`: what a vendor is.

use figment::{Figment, value::Dict};
use mainstay_actors::{faults::Fault, profile::ProfileSpec};

use super::section;
use crate::config::VendorConfig;

/// The kinds a profile may be, each a table of its own.
const KINDS: [&str; 4] = ["clay", "clay_tables", "retell", "http"];

/// The vendor of a name with the defaults of its kind; `None` when it cannot be told what it is.
pub(super) fn read(from: &Figment, name: &str, faults: &mut Vec<Fault>) -> Option<VendorConfig> {
    let path = format!("vendors.{name}.profile");
    let kinds =
        from.find_value(&path).ok().and_then(|value| Some(value.as_dict()?.keys().cloned().collect::<Vec<_>>()));
    if !matches!(kinds.as_deref(), Some([kind]) if KINDS.contains(&kind.as_str())) {
        let problem = format!("must be one table, such as [{path}.http], of {}", KINDS.join(", "));
        faults.push(Fault { field: path, problem });
        return None;
    }
    // Secrets are read and never written, so there are no defaults to read over: each kind has its own.
    let extract = |table: Dict| Figment::from(section::provider(table)).extract::<ProfileSpec>().map_err(Box::new);
    let spec = section::read_with(from, &path, &[], faults, extract)?;
    Some(VendorConfig::of(name, spec))
}
