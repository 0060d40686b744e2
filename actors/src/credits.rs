//! Money as integers: micro-units of whatever the vendor bills in (credits, actions, cents). A NaN cannot exist.
//!
//! In text (TOML, JSON) an amount is a decimal number of units, as a person writes it; in binary records it is the integer.

use std::{fmt, iter::Sum};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROS: u64 = 1_000_000;

/// An amount of a vendor's unit, in millionths. Arithmetic saturates: an absurd sum blocks spending, it never wraps to free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credits(u64);

/// Why a vendor's number is not an amount.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{value} is not an amount: it must be finite, not negative and below 10^12")]
pub struct AmountError {
    /// The number as the vendor or the configuration gave it.
    pub value: f64,
}

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than anybody has.
    pub const MAX: Self = Self(u64::MAX);

    /// Whole units.
    ///
    /// ```
    /// # use mainstay_actors::credits::Credits;
    /// assert_eq!(Credits::whole(6).to_string(), "6");
    /// ```
    pub const fn whole(units: u64) -> Self {
        Self(units.saturating_mul(MICROS))
    }

    /// Millionths of a unit.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Reads a vendor's decimal number. What lies between two millionths is rounded up, so that rounding never makes spending
    /// look smaller; the noise of binary fractions (5.48 is not exactly 5.48) is not.
    pub fn from_decimal(value: f64) -> Result<Self, AmountError> {
        if !value.is_finite() || !(0.0..1e12).contains(&value) {
            return Err(AmountError { value });
        }
        // In range by the check above: below 10^18.
        let (scaled, near) = (value * MICROS as f64, (value * MICROS as f64).round());
        let noise = (scaled - near).abs() <= scaled * f64::EPSILON * 4.0;
        Ok(Self(if noise { near } else { scaled.ceil() } as u64))
    }

    /// Millionths of a unit.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Sum, or the largest amount.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference, or nothing.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times as much, or the largest amount.
    pub const fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(count as u64))
    }

    /// As a decimal, for people and JSON; not for arithmetic.
    pub fn as_decimal(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match (to.is_human_readable(), self.0 % MICROS) {
            (false, _) => to.serialize_u64(self.0),
            (true, 0) => to.serialize_u64(self.0 / MICROS),
            (true, _) => to.serialize_f64(self.as_decimal()),
        }
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return u64::deserialize(from).map(Self);
        }
        Self::from_decimal(f64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl Sum for Credits {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / MICROS, self.0 % MICROS);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_no_amount_is_refused() {
        for bad in [f64::NAN, f64::INFINITY, -0.5, 1e12] {
            assert!(Credits::from_decimal(bad).is_err(), "{bad}");
        }
        assert_eq!(Credits::from_decimal(0.1).unwrap(), Credits::from_micros(100_000));
        assert_eq!(Credits::from_decimal(0.000_000_1).unwrap(), Credits::from_micros(1));
        for cents in 0..100_000u64 {
            assert_eq!(Credits::from_decimal(cents as f64 / 100.0).unwrap(), Credits::from_micros(cents * 10_000));
        }
    }

    #[test]
    fn an_amount_is_a_decimal_in_text_and_an_integer_in_a_record() {
        for (amount, text) in [(Credits::whole(500), "500"), (Credits::from_micros(1_500_000), "1.5")] {
            assert_eq!(serde_json::to_string(&amount).unwrap(), text);
            assert_eq!(serde_json::from_str::<Credits>(text).unwrap(), amount);
            let record = postcard::to_stdvec(&amount).unwrap();
            assert_eq!(record, postcard::to_stdvec(&amount.micros()).unwrap());
            assert_eq!(postcard::from_bytes::<Credits>(&record).unwrap(), amount);
        }
        for bad in ["-1", "1e12", "\"6\"", "null"] {
            assert!(serde_json::from_str::<Credits>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_stops_at_its_ends() {
        assert_eq!(Credits::MAX.plus(Credits::whole(1)), Credits::MAX);
        assert_eq!(Credits::whole(1).minus(Credits::whole(2)), Credits::ZERO);
    }

    #[test]
    fn an_amount_reads_as_a_person_writes_it() {
        assert_eq!(Credits::from_micros(1_500_000).to_string(), "1.5");
        assert_eq!(Credits::whole(500).to_string(), "500");
    }
}
