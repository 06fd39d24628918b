//! The consistency models: what they are called, which model implies which, and what each forbids.
//!
//! The tables follow `elle.consistency-model` of Elle 0.2.2, which draws on Adya, "Weak Consistency" (1999),
//! Bailis et al., "Highly Available Transactions" (2013), and Cerone et al., "A Framework for Transactional
//! Consistency Models with Atomic Visibility" (2015). Names of anomalies are those of the `anomalies` module.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::anomalies;

/// A consistency model, such as `serializable`. Parsed from any of its names: Maelstrom's
/// (`read-committed`), Adya's (`PL-2`), or an alias (`conflict-serializable`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Model(u8);

/// A name that no consistency model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownModel(String);

struct Row {
    /// The name that the tables here use.
    canonical: &'static str,
    /// The name in Elle's results.
    friendly: &'static str,
    /// Further names.
    aliases: &'static [&'static str],
    /// Models that hold wherever this one does (directly; the rest follows).
    implies: &'static [&'static str],
    /// Anomalies that it forbids, beyond those that the implied models forbid.
    forbids: &'static [&'static str],
}

const fn row(
    names: [&'static str; 2],
    aliases: &'static [&'static str],
    implies: &'static [&'static str],
    forbids: &'static [&'static str],
) -> Row {
    Row { canonical: names[0], friendly: names[1], aliases, implies, forbids }
}

#[rustfmt::skip]
static ROWS: &[Row] = &[
    row(["PL-1", "read-uncommitted"], &[], &[],
        &["G0", "duplicate-elements", "cyclic-versions", "PL-1-cycle-exists", "garbage-read"]),
    row(["PL-2", "read-committed"], &[], &["PL-1"], &["G1", "PL-2-cycle-exists"]),
    row(["PL-2L", "monotonic-view"], &[], &["PL-2"], &["G1", "G-monotonic"]),
    row(["PL-MSR", "monotonic-snapshot-read"], &[], &["PL-2"], &["G1", "G-MSR"]),
    row(["PL-CS", "cursor-stability"], &[], &["PL-2"], &["G1", "G-cursor", "lost-update"]),
    row(["PL-2+", "consistent-view"], &[], &["PL-CS", "PL-2L"], &["G1", "G-single"]),
    row(["PL-FCV", "forward-consistent-view"], &[], &["PL-2+"], &["G1", "G-SIb"]),
    row(["monotonic-atomic-view"; 2], &[], &["PL-2"], &[]),
    row(["read-atomic"; 2], &[], &["monotonic-atomic-view"], &["internal", "G1a", "future-read"]),
    row(["causal-cerone"; 2], &[], &["read-atomic"], &["internal", "G1a"]),
    row(["update-atomic"; 2], &[], &["read-atomic"], &["lost-update"]),
    row(["parallel-snapshot-isolation"; 2], &[], &["causal-cerone", "update-atomic"], &["internal", "G1a"]),
    row(["prefix"; 2], &[], &["causal-cerone"], &["internal", "G1a"]),
    row(["PL-2.99", "repeatable-read"], &[], &["PL-CS", "monotonic-atomic-view"],
        &["G1", "G2-item", "PL-2.99-cycle-exists", "lost-update"]),
    row(["PL-SI", "snapshot-isolation"], &[],
        &["PL-FCV", "monotonic-atomic-view", "PL-MSR", "parallel-snapshot-isolation", "prefix"],
        &["internal", "G1", "G-SI", "G-nonadjacent", "PL-SI-cycle-exists"]),
    row(["PL-3U", "update-serializable"], &[], &["PL-FCV"], &["G1", "G-update"]),
    row(["view-serializable"; 2], &[], &[], &[]),
    row(["PL-3", "serializable"], &["conflict-serializable"],
        &["PL-2.99", "PL-SI", "PL-3U", "view-serializable"],
        &["internal", "G1", "G2", "predicate-read-miss", "PL-3-cycle-exists"]),
    row(["1SR"; 2], &[], &[], &[]),
    row(["session-serializable"; 2], &[], &["1SR"], &[]),
    row(["strong-session-PL-1", "strong-session-read-uncommitted"], &[], &["PL-1"],
        &["strong-session-PL-1-cycle-exists", "G0-process"]),
    row(["strong-session-PL-2", "strong-session-read-committed"], &[], &["PL-2", "strong-session-PL-1"],
        &["strong-session-PL-2-cycle-exists", "G1c-process"]),
    row(["strong-session-snapshot-isolation"; 2], &[], &["PL-SI", "strong-session-PL-2"],
        &["internal", "G1-process", "G-nonadjacent-process", "strong-session-snapshot-isolation-cycle-exists"]),
    row(["strong-session-serializable"; 2], &[], &["PL-3", "strong-session-snapshot-isolation"],
        &["G1-process", "G2-process", "strong-session-serializable-cycle-exists"]),
    row(["strong-PL-1", "strong-read-uncommitted"], &[], &["strong-session-PL-1"],
        &["strong-PL-1-cycle-exists", "G0-realtime"]),
    row(["strong-PL-2", "strong-read-committed"], &[], &["strong-session-PL-2", "strong-PL-1"],
        &["strong-PL-2-cycle-exists", "G1c-realtime"]),
    row(["strong-snapshot-isolation"; 2], &[], &["strong-session-snapshot-isolation", "strong-PL-2"],
        &["internal", "G1-realtime", "G-nonadjacent-realtime", "strong-snapshot-isolation-cycle-exists"]),
    row(["PL-SS", "strong-serializable"], &["strict-serializable"],
        &["PL-3", "linearizable", "PL-SI", "strong-snapshot-isolation", "strong-session-serializable",
          "session-serializable"],
        &["G1", "G1c-realtime", "G2-realtime", "PL-SS-cycle-exists"]),
    row(["linearizable"; 2], &[], &["sequential"], &[]),
    row(["sequential"; 2], &[], &["causal"], &[]),
    row(["causal"; 2], &[], &["writes-follow-reads", "PRAM"], &[]),
    row(["writes-follow-reads"; 2], &[], &[], &[]),
    row(["PRAM"; 2], &[], &["monotonic-reads", "monotonic-writes", "read-your-writes"], &[]),
    row(["monotonic-reads"; 2], &[], &[], &[]),
    row(["monotonic-writes"; 2], &[], &[], &[]),
    row(["read-your-writes"; 2], &[], &[], &[]),
];

impl Model {
    /// All models, weaker ones first within a family.
    pub fn all() -> impl Iterator<Item = Model> {
        (0..ROWS.len()).map(|row| Model(row as u8))
    }

    /// What Elle calls it in its results: `strong-serializable` for what Maelstrom's option calls
    /// `strict-serializable`, and the same name as `Display`'s for all others.
    #[must_use]
    pub fn elle_name(self) -> &'static str {
        self.row().friendly
    }

    /// The name that Elle's tables use: Adya's where there is one, as in `PL-2`.
    #[must_use]
    pub fn canonical_name(self) -> &'static str {
        self.row().canonical
    }

    fn row(self) -> &'static Row {
        &ROWS[usize::from(self.0)]
    }

    fn directly_implied(self) -> impl Iterator<Item = Model> {
        Model::all().filter(move |model| self.row().implies.contains(&model.canonical_name()))
    }

    fn directly_implying(self) -> impl Iterator<Item = Model> {
        Model::all().filter(move |model| model.row().implies.contains(&self.canonical_name()))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.row().friendly {
            "strong-serializable" => "strict-serializable",
            name => name,
        })
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({self})")
    }
}

impl Default for Model {
    /// Strict serializability, as in Maelstrom.
    fn default() -> Self {
        let place = ROWS.iter().position(|row| row.canonical == "PL-SS");
        Model(place.unwrap_or_default() as u8)
    }
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, UnknownModel> {
        // Maelstrom's lists have spaces around their commas.
        let name = name.trim();
        let called = |model: &Model| {
            let row = model.row();
            row.canonical == name || row.friendly == name || row.aliases.contains(&name)
        };
        Model::all().find(called).ok_or_else(|| UnknownModel(name.to_owned()))
    }
}

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown consistency model {:?}; the models are ", self.0)?;
        for (place, model) in Model::all().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{model}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownModel {}

/// The anomalies that may not occur where all of `models` hold: what they and the models they imply forbid,
/// and whatever implies one of those.
pub(super) fn prohibited(models: &[Model]) -> BTreeSet<&'static str> {
    let implied = closure(models.iter().copied(), |model| model.directly_implied().collect());
    anomalies::implying(implied.iter().flat_map(|model| model.row().forbids.iter().copied()))
}

/// The models that cannot hold where `found` occurred.
pub(super) fn ruled_out(found: impl IntoIterator<Item = &'static str>) -> BTreeSet<Model> {
    let implied = anomalies::implied(found);
    stronger(Model::all().filter(|model| model.row().forbids.iter().any(|name| implied.contains(name))))
}

/// `models` and all that imply one of them.
pub(super) fn stronger(models: impl IntoIterator<Item = Model>) -> BTreeSet<Model> {
    closure(models, |model| model.directly_implying().collect())
}

/// The models that `found` rules out, in two parts: the weakest ones, and the rest, which imply one of those.
pub(super) fn boundary(found: impl IntoIterator<Item = &'static str>) -> (Vec<Model>, Vec<Model>) {
    let out = ruled_out(found);
    let weakest = |model: &Model| {
        let implied = closure([*model], |model| model.directly_implied().collect());
        implied.iter().all(|other| other == model || !out.contains(other))
    };
    out.iter().copied().partition(weakest)
}

/// All that can be reached from `from` by `next`, including `from`.
fn closure(from: impl IntoIterator<Item = Model>, next: impl Fn(Model) -> Vec<Model>) -> BTreeSet<Model> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<Model> = from.into_iter().collect();
    while let Some(model) = open.pop() {
        if reached.insert(model) {
            open.extend(next(model));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Model {
        name.parse().unwrap()
    }

    #[test]
    fn tables_mention_known_names_only() {
        for row in ROWS {
            for implied in row.implies {
                assert_eq!(model(implied).canonical_name(), *implied);
            }
            for anomaly in row.forbids {
                assert!(anomalies::is_known(anomaly), "{anomaly}");
            }
        }
    }

    #[test]
    fn every_model_parses_from_each_of_its_names() {
        for (index, row) in ROWS.iter().enumerate() {
            let names = [row.canonical, row.friendly].into_iter().chain(row.aliases.iter().copied());
            for name in names {
                assert_eq!(model(name), Model(index as u8), "{name}");
            }
            let shown = Model(index as u8);
            assert_eq!(model(&shown.to_string()), shown);
        }
    }

    #[test]
    fn strict_and_strong_serializable_are_one_model() {
        assert_eq!(model("strict-serializable"), model("PL-SS"));
        assert_eq!(model("strong-serializable").to_string(), "strict-serializable");
        assert_eq!(model("strict-serializable").elle_name(), "strong-serializable");
    }

    #[test]
    fn unknown_name_lists_the_models() {
        let error = "serialisable".parse::<Model>().unwrap_err().to_string();
        assert!(error.contains("serialisable") && error.contains("read-uncommitted, read-committed"));
    }

    #[test]
    fn stronger_models_prohibit_more() {
        for model in Model::all() {
            let prohibits = prohibited(&[model]);
            for weaker in model.directly_implied() {
                assert!(prohibits.is_superset(&prohibited(&[weaker])), "{model} and {weaker}");
            }
        }
    }

    #[test]
    fn lost_update_rules_out_cursor_stability_first() {
        let (not, also_not) = boundary(["lost-update"]);
        assert_eq!(not, [model("cursor-stability"), model("update-atomic")]);
        assert!(also_not.contains(&model("snapshot-isolation")));
        assert!(!also_not.contains(&model("read-committed")));
    }
}
