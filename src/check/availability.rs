//! Whether enough requests succeeded.

use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::{Finding, Valid};
use crate::history::{EventKind, History};

/// What fraction of requests must succeed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Availability {
    /// All of them.
    Total,
    /// At least this part, from 0 to 1.
    Fraction(f64),
}

impl Serialize for Availability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Availability::Total => serializer.serialize_str("total"),
            Availability::Fraction(least) => serializer.serialize_f64(*least),
        }
    }
}

impl FromStr for Availability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "total" {
            return Ok(Availability::Total);
        }
        match text.parse::<f64>() {
            Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(Availability::Fraction(fraction)),
            _ => Err("must be `total` or a number from 0 to 1".to_owned()),
        }
    }
}

/// The verdict on what fraction of requests succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AvailabilityResult {
    /// Whether it was as asked.
    pub valid: Valid,
    /// The part of all requests that succeeded.
    pub ok_fraction: f64,
}

impl AvailabilityResult {
    /// Checks a history against what was asked, if anything was.
    #[must_use]
    pub fn of(history: &History, wanted: Option<Availability>) -> Self {
        let invoked = history.invocations();
        let ok = history.by_clients().filter(|event| event.kind == EventKind::Ok).count();
        let ok_fraction = if invoked == 0 { 1.0 } else { ok as f64 / invoked as f64 };
        let valid = match wanted {
            None => true,
            Some(Availability::Total) => ok == invoked,
            Some(Availability::Fraction(least)) => ok_fraction >= least,
        };
        AvailabilityResult { valid: valid.into(), ok_fraction }
    }
}

impl AvailabilityResult {
    /// What is wrong, in words.
    #[must_use]
    pub fn finding(&self, wanted: Option<Availability>) -> Option<Finding> {
        let wanted = match wanted? {
            Availability::Total => 1.0,
            Availability::Fraction(least) => least,
        };
        (self.valid == Valid::False).then(|| {
            Finding::new(
                format!(
                    "Of the requests {:.2} % succeeded; --availability asks for {:.2} %.",
                    100.0 * self.ok_fraction,
                    100.0 * wanted
                ),
                "A node must answer also while it can't reach the others.",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::history;
    use EventKind::{Fail, Invoke, Ok};
    use serde_json::json;

    #[test]
    fn availability_is_total_or_a_fraction() {
        assert_eq!("total".parse(), Result::Ok(Availability::Total));
        assert_eq!("0.5".parse(), Result::Ok(Availability::Fraction(0.5)));
        assert!("1.5".parse::<Availability>().is_err() && "some".parse::<Availability>().is_err());
    }

    #[test]
    fn availability_is_the_part_that_succeeded() {
        let events = [
            (0, Invoke, "read", json!(null)),
            (0, Ok, "read", json!([])),
            (0, Invoke, "read", json!(null)),
            (0, Fail, "read", json!(null)),
        ];
        let of = |wanted| AvailabilityResult::of(&history(&events), wanted);
        assert_eq!(of(None), AvailabilityResult { valid: Valid::True, ok_fraction: 0.5 });
        assert_eq!(of(Some(Availability::Total)).valid, Valid::False);
        assert_eq!(of(Some(Availability::Fraction(0.5))).valid, Valid::True);
        assert_eq!(of(Some(Availability::Fraction(0.6))).valid, Valid::False);
    }
}
