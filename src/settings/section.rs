//! One table of the configuration, read over its defaults.

use figment::{
    Figment, Profile,
    error::Kind,
    providers::Serialized,
    value::{Dict, Value},
};
use mainstay_actors::faults::Fault;
use serde::{Serialize, de::DeserializeOwned};

/// Reads the table at `path`, but for some keys, over `defaults`. When it is wrong, every wrong key is named, and the defaults
/// stand in, so that the rest is checked too.
pub(super) fn read<T>(from: &Figment, path: &str, defaults: &T, except: &[&str], faults: &mut Vec<Fault>) -> T
where
    T: Serialize + DeserializeOwned + Clone,
{
    let over = |table| {
        let defaults = Serialized::from(defaults, Profile::Default);
        Figment::from(defaults).merge(provider(table)).extract().map_err(Box::new)
    };
    read_with(from, path, except, faults, over).unwrap_or_else(|| defaults.clone())
}

/// Reads the table at `path`, but for some keys. `None`: it is wrong, and every wrong key is named.
pub(super) fn read_with<T>(
    from: &Figment,
    path: &str,
    except: &[&str],
    faults: &mut Vec<Fault>,
    extract: impl Fn(Dict) -> Result<T, Box<figment::Error>>,
) -> Option<T> {
    let mut table = match from.find_value(path) {
        Ok(Value::Dict(_, table)) => table,
        Ok(_) => {
            faults.push(Fault { field: path.into(), problem: "is no table".into() });
            return None;
        }
        Err(_) => Dict::new(),
    };
    table.retain(|key, _| !except.contains(&key.as_str()));
    match extract(table.clone()) {
        Ok(read) => Some(read),
        Err(whole) => {
            faults.extend(every_fault(from, path, &table, whole, extract));
            None
        }
    }
}

/// A table as a layer of its own.
pub(super) fn provider(table: Dict) -> Serialized<Dict> {
    Serialized::from(table, Profile::Default)
}

/// Serde stops at the first wrong key. Each key by itself gives the others too.
fn every_fault<T>(
    from: &Figment,
    path: &str,
    table: &Dict,
    whole: Box<figment::Error>,
    extract: impl Fn(Dict) -> Result<T, Box<figment::Error>>,
) -> Vec<Fault> {
    let is_alone = |error: &figment::Error| !matches!(error.kind, Kind::MissingField(_));
    let mut found: Vec<Fault> = Vec::new();
    for leaf in leaves(table) {
        let errors = extract(leaf).err().into_iter().flat_map(|error| *error).filter(is_alone);
        for fault in errors.map(|error| as_fault(from, path, &error)) {
            if !found.contains(&fault) {
                found.push(fault);
            }
        }
    }
    // Wrong only together: a table that has no default of its own, and is not whole.
    if found.is_empty() { (*whole).into_iter().map(|error| as_fault(from, path, &error)).collect() } else { found }
}

/// The table as tables of one value each.
fn leaves(table: &Dict) -> Vec<Dict> {
    let one = |key: &String, value: Value| Dict::from([(key.clone(), value)]);
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Dict(tag, inner) if !inner.is_empty() => {
                found.extend(leaves(inner).into_iter().map(|leaf| one(key, Value::Dict(*tag, leaf))));
            }
            value => found.push(one(key, value.clone())),
        }
    }
    found
}

fn as_fault(from: &Figment, path: &str, error: &figment::Error) -> Fault {
    let parts = std::iter::once(path).chain(error.path.iter().map(String::as_str));
    fault(from, parts.collect::<Vec<_>>().join("."), error)
}

/// What is wrong with one field, and in which layer.
pub(super) fn fault(from: &Figment, field: String, error: &figment::Error) -> Fault {
    let place = from.find_metadata(&field).map(|metadata| format!(" (in {})", metadata.name)).unwrap_or_default();
    // Figment puts a list of names in backticks of its own.
    let problem = error.kind.to_string().replace("``", "`").replace("`one of `", "one of `");
    Fault { field, problem: format!("{problem}{place}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use figment::providers::{Format as _, Toml};
    use mainstay_actors::{breaker::BreakerConfig, health::HealthConfig};

    use super::*;

    fn of<T: Serialize + DeserializeOwned + Clone>(text: &str, defaults: &T) -> (T, Vec<String>) {
        let (from, mut faults) = (Figment::from(Toml::string(text)), Vec::new());
        let read = read(&from, "at", defaults, &[], &mut faults);
        (read, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_not_said_is_as_the_defaults_have_it() {
        let defaults = BreakerConfig::credit(Duration::from_secs(10));
        let (read, faults) = of("[at]\nprobes = 3\n[at.rate]\nminimum_calls = 7", &defaults);
        assert_eq!(faults, Vec::<String>::new());
        let mut expected = BreakerConfig { probes: 3, ..defaults };
        expected.rate.as_mut().unwrap().minimum_calls = 7;
        assert_eq!(read, expected);
    }

    #[test]
    fn every_wrong_key_is_named_at_once_with_its_place() {
        let text = "[at]\nprobs = 3\njitter = \"much\"\n[at.rate]\nminimum_calls = -7\nratio = 1";
        let (read, faults) = of(text, &BreakerConfig::default());
        assert_eq!(read, BreakerConfig::default());
        let fields: Vec<_> = faults.iter().filter_map(|fault| fault.split(": ").next()).collect();
        assert_eq!(fields, ["at.jitter", "at.probs", "at.rate.minimum_calls", "at.rate.ratio"], "{faults:#?}");
        assert!(faults.iter().all(|fault| fault.contains("TOML")), "{faults:#?}");
    }

    #[test]
    fn a_value_that_is_no_table_and_a_table_that_is_not_there() {
        assert_eq!(of("at = 7", &HealthConfig::default()).1, ["at: is no table"]);
        assert_eq!(of("", &HealthConfig::default()), (HealthConfig::default(), Vec::new()));
    }
}
