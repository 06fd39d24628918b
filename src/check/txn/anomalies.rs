//! The names of anomalies, which anomaly implies which, and what each means in plain words.
//!
//! The implications follow `elle.consistency-model` of Elle 0.2.2; the definitions are Adya's ("Weak
//! Consistency", 1999) and Elle's (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from
//! Experimental Observations", 2020).

use std::collections::BTreeSet;

pub(super) const DUPLICATE_ELEMENTS: &str = "duplicate-elements";
pub(super) const INCOMPATIBLE_ORDER: &str = "incompatible-order";
pub(super) const INTERNAL: &str = "internal";
pub(super) const FUTURE_READ: &str = "future-read";
pub(super) const G1A: &str = "G1a";
pub(super) const G1B: &str = "G1b";
pub(super) const DIRTY_UPDATE: &str = "dirty-update";
pub(super) const LOST_UPDATE: &str = "lost-update";
pub(super) const CYCLIC_VERSIONS: &str = "cyclic-versions";
pub(super) const EMPTY_GRAPH: &str = "empty-transaction-graph";
/// The search for cycles stopped at its bound on work. Elle has a bound on time instead; its name is kept.
pub(super) const SEARCH_CUT_SHORT: &str = "cycle-search-timeout";
/// A value was read that no transaction ever wrote. Not one of Elle's anomalies: Elle's list-append checker
/// fails with an exception instead, and its rw-register checker takes such a value for an initial one.
pub(super) const GARBAGE_READ: &str = "garbage-read";

/// Anomalies that make a verdict unknown, unless there is a prohibited one beside them.
pub(super) const UNKNOWN: [&str; 2] = [EMPTY_GRAPH, SEARCH_CUT_SHORT];

/// Which anomaly directly implies which.
#[rustfmt::skip]
static IMPLIES: &[(&str, &[&str])] = &[
    ("G0", &["G1c", "G0-process"]),
    ("G0-process", &["G1c-process", "G0-realtime"]),
    ("G0-realtime", &["G1c-realtime"]),
    ("G1a", &["G1"]),
    ("G1b", &["G1"]),
    ("G1c", &["G1", "G1c-process"]),
    ("G1c-process", &["G1c-realtime", "G1-process"]),
    ("G1c-realtime", &["G1-realtime"]),
    ("G1", &["G1-process"]),
    ("G1-process", &["G1-realtime"]),
    ("G1-realtime", &[]),
    ("G-single-item", &["G-single", "G-single-item-process", "G-nonadjacent-item"]),
    ("G-single-item-process", &["G-single-process", "G-single-item-realtime", "G-nonadjacent-item-process"]),
    ("G-single-item-realtime", &["G-single-realtime", "G-nonadjacent-item-realtime"]),
    // The models forbid G-SIb and G-SI, spelt with a hyphen, so these two never count. Elle has it so.
    ("G-single", &["G-nonadjacent", "GSIb", "G-single-process"]),
    ("G-single-process", &["G-nonadjacent-process", "G-single-realtime"]),
    ("G-single-realtime", &["G-nonadjacent-realtime"]),
    ("G-nonadjacent-item", &["G-nonadjacent", "G2-item", "G-nonadjacent-item-process"]),
    ("G-nonadjacent-item-process", &["G-nonadjacent-process", "G2-item-process", "G-nonadjacent-item-realtime"]),
    ("G-nonadjacent-item-realtime", &["G2-item-realtime", "G-nonadjacent-realtime"]),
    ("G-nonadjacent", &["G2", "G-nonadjacent-process"]),
    ("G-nonadjacent-process", &["G2-process", "G-nonadjacent-realtime"]),
    ("G-nonadjacent-realtime", &["G2-realtime"]),
    ("G2", &["G2-process"]),
    ("G2-item", &["G2", "G2-item-process"]),
    ("G2-item-process", &["G2-process", "G2-item-realtime"]),
    ("G2-item-realtime", &["G2-realtime"]),
    ("G2-process", &["G2-realtime"]),
    ("G2-realtime", &[]),
    ("GSIa", &["GSI"]),
    ("GSIb", &["GSI"]),
    ("GSI", &[]),
    (INCOMPATIBLE_ORDER, &["G1a"]),
    (FUTURE_READ, &["G1c"]),
    (DIRTY_UPDATE, &["G1a"]),
    (LOST_UPDATE, &["write-skew", "G2-item"]),
    ("write-skew", &["G2"]),
    (DUPLICATE_ELEMENTS, &[]),
    (CYCLIC_VERSIONS, &[]),
    (INTERNAL, &[]),
    (GARBAGE_READ, &[]),
    (EMPTY_GRAPH, &[]),
    (SEARCH_CUT_SHORT, &[]),
    // Forbidden by some model, but nothing here looks for them.
    ("G-SI", &[]),
    ("G-SIb", &[]),
    ("G-MSR", &[]),
    ("G-monotonic", &[]),
    ("G-cursor", &[]),
    ("G-update", &[]),
    ("predicate-read-miss", &[]),
    ("PL-1-cycle-exists", &[]),
    ("PL-2-cycle-exists", &[]),
    ("PL-SI-cycle-exists", &[]),
    ("PL-2.99-cycle-exists", &[]),
    ("PL-3-cycle-exists", &[]),
    ("strong-session-PL-1-cycle-exists", &[]),
    ("strong-session-PL-2-cycle-exists", &[]),
    ("strong-session-snapshot-isolation-cycle-exists", &[]),
    ("strong-session-serializable-cycle-exists", &[]),
    ("strong-PL-1-cycle-exists", &[]),
    ("strong-PL-2-cycle-exists", &[]),
    ("strong-snapshot-isolation-cycle-exists", &[]),
    ("PL-SS-cycle-exists", &[]),
];

/// `names` and all that they imply.
pub(super) fn implied(names: impl IntoIterator<Item = &'static str>) -> BTreeSet<&'static str> {
    closure(names, |name| directly_implied(name).to_vec())
}

/// `names` and all that imply one of them.
pub(super) fn implying(names: impl IntoIterator<Item = &'static str>) -> BTreeSet<&'static str> {
    closure(names, |name| {
        IMPLIES.iter().filter(|(_, implied)| implied.contains(&name)).map(|(from, _)| *from).collect()
    })
}

fn directly_implied(name: &str) -> &'static [&'static str] {
    IMPLIES.iter().find(|(from, _)| *from == name).map_or(&[], |(_, implied)| implied)
}

fn closure(
    from: impl IntoIterator<Item = &'static str>,
    next: impl Fn(&'static str) -> Vec<&'static str>,
) -> BTreeSet<&'static str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&'static str> = from.into_iter().collect();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(next(name));
        }
    }
    reached
}

/// What the anomaly means, as a clause to follow its name: "G1a: a transaction read …".
pub(super) fn meaning(name: &str) -> &'static str {
    match name {
        DUPLICATE_ELEMENTS => "a read shows an element twice though it was appended once",
        INCOMPATIBLE_ORDER => "two reads of a key show its elements in orders that cannot both be right",
        INTERNAL => "a transaction's read contradicts what the same transaction read or wrote before",
        FUTURE_READ => "a transaction read what it wrote only later",
        G1A => "aborted read: a transaction read what another wrote that failed",
        G1B => "intermediate read: a transaction read what another wrote and then overwrote",
        DIRTY_UPDATE => "a committed write builds on the write of a transaction that failed",
        LOST_UPDATE => {
            "two transactions read the same value and then both wrote, so one overwrote the other unseen"
        }
        CYCLIC_VERSIONS => "the versions of a key follow each other in a circle",
        GARBAGE_READ => "a transaction read a value that nobody wrote",
        EMPTY_GRAPH => "no two transactions depend on each other, so the history shows nothing",
        SEARCH_CUT_SHORT => "the search for cycles reached its bound on work and stopped",
        _ => cycle_meaning(name),
    }
}

fn cycle_meaning(name: &str) -> &'static str {
    let prefix = |prefix: &str| name.starts_with(prefix);
    if name.ends_with("-cycle-exists") {
        "transactions depend on each other in a circle, though no single cycle of a named kind was found"
    } else if prefix("G0") {
        "write cycle: transactions overwrote each other's writes in a circle"
    } else if prefix("G1c") {
        "circular information flow: transactions saw or overwrote each other's writes in a circle"
    } else if prefix("G-single") {
        "read skew: a cycle in which exactly one transaction missed a write of the next"
    } else if prefix("G-nonadjacent") {
        "a cycle in which several transactions missed a write of the next, never two in a row"
    } else {
        "anti-dependency cycle (write skew is one): two transactions in a row missed a write of the next"
    }
}

/// What usually causes it, and what to look at.
pub(super) fn hint(name: &str) -> &'static str {
    match name {
        DUPLICATE_ELEMENTS => {
            "Usually a retried request that was applied twice. Remember which requests were applied, or make a retry find out."
        }
        INCOMPATIBLE_ORDER => {
            "Usually two nodes that each accept appends and order them on their own, or an update that replaces the list by an older copy plus one element."
        }
        INTERNAL => {
            "A transaction must see its own earlier reads and writes: buffer its writes, and read from the buffer first, then from one snapshot."
        }
        FUTURE_READ => {
            "Usually a transaction that was tried again after its writes had already been applied. Run it on a fresh snapshot, and apply its writes once."
        }
        G1A => {
            "A transaction's writes became visible before it was decided, and it then failed. Publish all writes at commit; or do not answer with a definite error (a code such as abort) when the writes may have been applied."
        }
        G1B => "Writes became visible one by one. Publish a transaction's final writes together, at commit.",
        DIRTY_UPDATE => {
            "A transaction worked on another's uncommitted state. Do not answer with a definite error when the writes may have been applied, or undo them before anyone builds on them."
        }
        LOST_UPDATE => {
            "Read and write must not be interrupted by another write of the key: compare and set on the version that was read, lock the key, or abort one of the two."
        }
        CYCLIC_VERSIONS => {
            "A value that was overwritten came back. Check that replicas do not fall back to an older version."
        }
        GARBAGE_READ => {
            "Check how values are stored, merged and encoded: the node made this value up, returned another key's, or did not answer with the operations of the request, in their order, with the same keys and types."
        }
        EMPTY_GRAPH => "Run longer, with more clients or fewer keys, so that transactions meet.",
        SEARCH_CUT_SHORT => "Check a shorter history.",
        _ => cycle_hint(name),
    }
}

fn cycle_hint(name: &str) -> &'static str {
    if name.ends_with("-realtime") {
        "A transaction did not see what had ended before it began: stale reads. Usually a read from a replica, cache or snapshot that lags; go through the leader, a lock, or a compare-and-set on the current version."
    } else if name.ends_with("-process") {
        "A client did not see what it had done or seen before, usually since it reached another replica. Let sessions carry the version they have seen."
    } else if name.starts_with("G0") {
        "Writes of transactions were interleaved. Apply all writes of a transaction in one step, or hold its locks until the end."
    } else if name.starts_with("G1c") {
        "Transactions saw each other's writes while both were running. Publish writes at commit only, all at once."
    } else if name.starts_with("G-single") || name.starts_with("G-nonadjacent") {
        "A transaction saw some effects of another and missed others. Read all keys from one snapshot, and publish all writes at once."
    } else if name.starts_with("G2") {
        "Transactions decided on reads that others overwrote meanwhile. Before the commit, check that nothing that was read has changed (not only what is written), or lock what is read."
    } else {
        "See the transactions listed: each depends on another of them."
    }
}

#[cfg(test)]
pub(super) fn is_known(name: &str) -> bool {
    IMPLIES.iter().any(|(from, _)| *from == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implications_mention_known_names_only() {
        for (_, implied) in IMPLIES {
            for name in *implied {
                assert!(is_known(name), "{name}");
            }
        }
    }

    #[test]
    fn base_implies_process_implies_realtime() {
        for base in ["G0", "G1c", "G-single-item", "G-nonadjacent-item", "G2-item", "G1", "G2"] {
            let implied = implied([IMPLIES.iter().find(|(name, _)| *name == base).unwrap().0]);
            for suffix in ["-process", "-realtime"] {
                assert!(implied.contains(format!("{base}{suffix}").as_str()), "{base}{suffix}");
            }
        }
    }

    #[test]
    fn implying_is_the_converse_of_implied() {
        for (from, _) in IMPLIES {
            for (to, _) in IMPLIES {
                assert_eq!(implied([*from]).contains(to), implying([*to]).contains(from), "{from}, {to}");
            }
        }
    }
}
