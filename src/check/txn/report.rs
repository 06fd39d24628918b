//! Collects anomalies while the checkers run, and turns them into a verdict.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::anomalies::{self, CYCLIC_VERSIONS, FUTURE_READ, GARBAGE_READ, SEARCH_CUT_SHORT};
use super::cycles;
use super::models::{self, Model};
use super::words;
use crate::check::{Finding, Valid};

/// Instances of an anomaly that are kept with their explanations: nobody reads more, and a broken node shows
/// thousands. All are counted.
const KEPT: usize = 64;

/// One instance of an anomaly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Instance {
    /// The indices of the events of all operations involved, in ascending order.
    pub events: Vec<usize>,
    /// What happened, in sentences.
    pub what: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Instances {
    count: usize,
    kept: Vec<Instance>,
}

/// The anomalies found so far.
pub(super) struct Report<'t> {
    events_of: &'t dyn Fn(u32) -> Vec<usize>,
    found: BTreeMap<&'static str, Instances>,
    stops_elle: bool,
}

impl<'t> Report<'t> {
    /// An empty report; `events_of` tells the indices of a transaction's events.
    pub(super) fn new(events_of: &'t dyn Fn(u32) -> Vec<usize>) -> Self {
        Report { events_of, found: BTreeMap::new(), stops_elle: false }
    }

    /// Adds an instance that involves these transactions.
    pub(super) fn add(&mut self, name: &'static str, txns: &[u32], what: impl FnOnce() -> String) {
        let instances = self.found.entry(name).or_default();
        instances.count += 1;
        if instances.kept.len() < KEPT {
            let mut events: Vec<usize> = txns.iter().flat_map(|txn| (self.events_of)(*txn)).collect();
            events.sort_unstable();
            events.dedup();
            instances.kept.push(Instance { events, what: what() });
        }
    }

    /// The verdict for a history that should satisfy all of `models`.
    pub(super) fn verdict(self, workload: Workload, models: &[Model]) -> TxnResult {
        TxnResult { stops_elle: self.stops_elle, ..judge(workload, models, self.found) }
    }

    /// Notes that Elle throws an exception on this history instead of judging it.
    pub(super) fn note_that_elle_stops(&mut self) {
        self.stops_elle = true;
    }
}

/// Which checker it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    ListAppend,
    RwRegister,
}

/// The verdict on a history of transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnResult {
    /// Whether the history satisfies the models asked for.
    pub valid: Valid,
    /// Why nothing can be said, if the history does not fit the checker.
    pub reason: Option<String>,
    /// The names of the anomalies that the models forbid or that keep the verdict open, sorted.
    pub anomaly_types: Vec<String>,
    /// For each of these the first instances (at most 64); [`TxnResult::count`] tells how many there were.
    pub anomalies: BTreeMap<String, Vec<Instance>>,
    /// The weakest consistency models that the history rules out.
    pub not: BTreeSet<String>,
    /// Stronger models, which fall with those.
    pub also_not: BTreeSet<String>,
    workload: Workload,
    models: Vec<Model>,
    found: BTreeMap<&'static str, Instances>,
    stops_elle: bool,
}

fn judge(workload: Workload, models: &[Model], found: BTreeMap<&'static str, Instances>) -> TxnResult {
    let prohibited = models::prohibited(models);
    let bad = found.keys().any(|name| prohibited.contains(name));
    let mut reported: BTreeSet<&'static str> = found.keys().copied().collect();
    reported.retain(|name| prohibited.contains(name) || anomalies::UNKNOWN.contains(name));
    let others = reported.iter().copied().filter(|name| !cycles::is_existence(name));
    let redundant = cycles::redundant(others);
    reported.retain(|name| !redundant.contains(name));
    let mut result = TxnResult::blank(workload, models);
    if reported.is_empty() {
        result.found = found;
        return result;
    }
    let (not, also_not) = models::boundary(found.keys().copied());
    result.valid = if bad { Valid::False } else { Valid::Unknown };
    result.anomaly_types = reported.iter().map(|name| (*name).to_owned()).collect();
    result.anomalies = reported.iter().map(|name| ((*name).to_owned(), found[name].kept.clone())).collect();
    result.not = not.into_iter().map(|model| model.elle_name().to_owned()).collect();
    result.also_not = also_not.into_iter().map(|model| model.elle_name().to_owned()).collect();
    result.found = found;
    result
}

impl TxnResult {
    fn blank(workload: Workload, models: &[Model]) -> Self {
        TxnResult {
            valid: Valid::True,
            reason: None,
            anomaly_types: Vec::new(),
            anomalies: BTreeMap::new(),
            not: BTreeSet::new(),
            also_not: BTreeSet::new(),
            workload,
            models: models.to_vec(),
            found: BTreeMap::new(),
            stops_elle: false,
        }
    }

    /// Nothing can be said, for this reason.
    pub(super) fn unknown(workload: Workload, models: &[Model], reason: String) -> Self {
        TxnResult { valid: Valid::Unknown, reason: Some(reason), ..Self::blank(workload, models) }
    }

    /// The verdict that Maelstrom gives, where it differs from this one:
    ///
    /// - A value that nobody wrote (`garbage-read`) makes Elle's list-append checker throw an exception if it
    ///   is in the longest read of its key, which Maelstrom reports as unknown; other such values, and all of
    ///   registers, Elle does not notice. Neither does it notice a `future-read` of a register.
    /// - For registers, Maelstrom deletes the anomaly `cycle-search-timeout` and then takes a history for valid
    ///   exactly if no anomaly is left. So an unknown verdict becomes true, or false if the reason was
    ///   `empty-transaction-graph`.
    #[must_use]
    pub fn maelstrom_strict(&self) -> TxnResult {
        if self.reason.is_some() {
            return self.clone();
        }
        let mut found = self.found.clone();
        found.remove(GARBAGE_READ);
        if self.stops_elle {
            return Self::unknown(self.workload, &self.models, GARBAGE_STOPS_ELLE.to_owned());
        }
        if self.workload == Workload::ListAppend {
            return judge(self.workload, &self.models, found);
        }
        found.remove(FUTURE_READ);
        let mut result = judge(self.workload, &self.models, found);
        result.anomaly_types.retain(|name| name != SEARCH_CUT_SHORT);
        result.anomalies.remove(SEARCH_CUT_SHORT);
        result.valid = result.anomaly_types.is_empty().into();
        result
    }

    /// How often a reported anomaly occurred.
    #[must_use]
    pub fn count(&self, anomaly_type: &str) -> usize {
        match self.anomalies.contains_key(anomaly_type) {
            true => self.found.get(anomaly_type).map_or(0, |instances| instances.count),
            false => 0,
        }
    }

    /// One finding for each type of anomaly: what it means, its first instance, and a hint on its cause.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let reason = self.reason.iter().map(|reason| Finding {
            what: format!("The history cannot be judged: {reason}."),
            count: 1,
            events: Vec::new(),
            hint: String::new(),
        });
        let anomalies = self.anomalies.iter().filter_map(|(name, kept)| {
            let first = kept.first()?;
            Some(Finding {
                what: words::finding(name, &first.what),
                count: self.count(name),
                events: first.events.clone(),
                hint: anomalies::hint(name).to_owned(),
            })
        });
        reason.chain(anomalies).collect()
    }
}

const GARBAGE_STOPS_ELLE: &str =
    "a list shows an element that nobody appended, on which Maelstrom's checker throws an exception";

/// As Elle does: a valid history's verdict says no more than that.
impl Serialize for TxnResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("valid", &self.valid)?;
        if let Some(reason) = &self.reason {
            map.serialize_entry("reason", reason)?;
        }
        if !self.anomaly_types.is_empty() {
            map.serialize_entry("anomaly-types", &self.anomaly_types)?;
            map.serialize_entry("anomalies", &self.anomalies)?;
            map.serialize_entry("not", &self.not)?;
            map.serialize_entry("also-not", &self.also_not)?;
        }
        map.end()
    }
}

/// Names the versions in a circle, for [`CYCLIC_VERSIONS`].
pub(super) fn circle_of_versions(key: &serde_json::Value, versions: &[String]) -> (&'static str, String) {
    let versions = versions.join(", ");
    let what = format!(
        "Transactions read one and then wrote another of these values of key {key}, in a circle: {versions}. So \
         each of them would have to be older than itself."
    );
    (CYCLIC_VERSIONS, what)
}
