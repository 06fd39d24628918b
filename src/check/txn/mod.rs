//! The checkers of transactional workloads, `txn-list-append` and `txn-rw-register`: does a history satisfy a
//! consistency model such as read-committed or serializable? In the way of Elle 0.2.2 (Kingsbury and Alvaro,
//! "Elle: Inferring Isolation Anomalies from Experimental Observations", 2020), with Elle's names.
//!
//! From what transactions read, the checkers infer which of them must have come before which, as a graph. A
//! cycle in it is an anomaly, whose kind depends on the edges; some anomalies show without the graph. Each
//! consistency model forbids certain anomalies. A history without forbidden ones is valid, which is no proof:
//! what was not read is not known.
//!
//! | module | what is there |
//! | --- | --- |
//! | `transactions` | from events to transactions; JSON values as small integers |
//! | `list_append`, `rw_register` | from transactions to versions and dependencies |
//! | `within` | anomalies that show without the graph |
//! | `time_order` | edges from the order in time |
//! | `graph` | the graph and its strongly connected components |
//! | `cycles`, `search` | which kinds of cycles there are; a short one of each |
//! | `anomalies`, `models` | names, and what implies and forbids what |
//! | `words` | explanations |
//! | `report` | the verdict |
//!
//! What differs from Elle:
//!
//! - There is no limit on time, but one on work (`search::WORK`), past which the verdict is unknown unless
//!   something forbidden was found. The anomaly keeps Elle's name, `cycle-search-timeout`.
//! - Where two transactions are related in several ways, Elle may look for a cycle by one relation, see that the
//!   cycle it met first goes by another name, and search no further; which it meets first depends on the order
//!   of its hash maps. Here each edge has its name before the search begins, so that a cycle of a kind is found
//!   if there is one (but for contrived cases: see `search`). So `anomaly-types` can differ. In 1,420 recorded
//!   verdicts of Elle's, whether the history is valid and which models it rules out agree in all.
//! - `garbage-read`, and `future-read` of registers, are reported, of which Elle knows nothing:
//!   [`TxnResult::maelstrom_strict`] leaves them out.
//! - A transaction that never ends counts as uncertain, and a completion without an invocation as a transaction
//!   that may have begun at any time.

mod anomalies;
mod cycles;
mod graph;
mod list_append;
mod models;
#[cfg(test)]
mod naive;
mod report;
mod rw_register;
mod search;
#[cfg(test)]
mod tests;
mod time_order;
mod transactions;
mod within;
mod words;

pub use models::{Model, UnknownModel};
pub use report::{Instance, TxnResult};

use anomalies::{EMPTY_GRAPH, SEARCH_CUT_SHORT};
use graph::{Builder, EDGE_LIMIT, Rel};
use report::{Report, Workload};
use transactions::Transactions;
use words::{Explain, Words};

use crate::history::History;

/// Judges a history of `txn-list-append` by whether it satisfies all of `models`.
///
/// The verdict is unknown, with a reason, if the history holds anything but reads and appends of the form
/// `[["r", key, null or list], ["append", key, value], …]`, or appends a value to a key twice.
#[must_use]
pub fn list_append(history: &History, models: &[Model]) -> TxnResult {
    list_append_within(history, models, search::WORK)
}

fn list_append_within(history: &History, models: &[Model], work: u64) -> TxnResult {
    let unknown = |reason| TxnResult::unknown(Workload::ListAppend, models, reason);
    let txns = match Transactions::of::<list_append::Lists>(history) {
        Ok(txns) => txns,
        Err(reason) => return unknown(reason),
    };
    if let Some(reason) = list_append::unfit(&txns) {
        return unknown(reason);
    }
    let events_of = |txn: u32| txns.at(txn).events().collect();
    let mut report = Report::new(&events_of);
    let versions = list_append::Versions::of(&txns);
    list_append::direct(&txns, &versions, &mut report);
    let mut graph = Builder::default();
    versions.link(&mut graph);
    let order = [Rel::Ww, Rel::Wr, Rel::Rw, Rel::Process, Rel::Realtime];
    match add_cycles(&txns, graph, order, models, work, &versions, &mut report) {
        Ok(()) => report.verdict(Workload::ListAppend, models),
        Err(reason) => unknown(reason),
    }
}

/// Judges a history of `txn-rw-register` by whether it satisfies all of `models`.
///
/// The verdict is unknown, with a reason, if the history holds anything but reads and writes of the form
/// `[["r", key, value], ["w", key, value], …]`, or if two transactions wrote a value that was read.
#[must_use]
pub fn rw_register(history: &History, models: &[Model]) -> TxnResult {
    rw_register_within(history, models, search::WORK)
}

fn rw_register_within(history: &History, models: &[Model], work: u64) -> TxnResult {
    let unknown = |reason| TxnResult::unknown(Workload::RwRegister, models, reason);
    let txns = match Transactions::of::<rw_register::Registers>(history) {
        Ok(txns) => txns,
        Err(reason) => return unknown(reason),
    };
    let events_of = |txn: u32| txns.at(txn).events().collect();
    let mut report = Report::new(&events_of);
    rw_register::direct(&txns, &mut report);
    let versions = match rw_register::Versions::of(&txns, &mut report) {
        Ok(versions) => versions,
        Err(reason) => return unknown(reason),
    };
    let mut graph = Builder::default();
    versions.link(&mut graph);
    let order = [Rel::Wr, Rel::Ww, Rel::Rw, Rel::Process, Rel::Realtime];
    match add_cycles(&txns, graph, order, models, work, &versions, &mut report) {
        Ok(()) => report.verdict(Workload::RwRegister, models),
        Err(reason) => unknown(reason),
    }
}

/// Adds the order in time to the graph, if the models speak of it, and reports the graph's cycles.
///
/// # Errors
///
/// A sentence on why not: the graph is too large.
fn add_cycles<R>(
    txns: &Transactions<'_, R>,
    mut graph: Builder,
    order: [Rel; 5],
    models: &[Model],
    work: u64,
    explain: &dyn Explain,
    report: &mut Report<'_>,
) -> Result<(), String> {
    let prohibited = models::prohibited(models);
    if cycles::needs(&prohibited, Rel::Realtime) {
        time_order::realtime(txns, &mut graph);
    } else if cycles::needs(&prohibited, Rel::Process) {
        time_order::process(txns, &mut graph);
    }
    if graph.is_untouched() {
        report.add(EMPTY_GRAPH, &[], || "No transaction read or overwrote what another wrote.".to_owned());
    }
    let graph = graph.build(txns.all.len(), order).ok_or_else(|| {
        format!("its transactions depend on each other in more than {EDGE_LIMIT} ways, too many to search")
    })?;
    let found = cycles::find(&graph, work);
    for (name, steps) in found.named {
        let members: Vec<u32> = steps.iter().map(|step| step.from).collect();
        report.add(name, &members, || Words::of(txns).cycle(name, &steps, explain));
    }
    for (name, members) in found.exist {
        report.add(name, &members, || Words::of(txns).circle(name, &members));
    }
    for (name, members) in found.cut_short {
        report.add(SEARCH_CUT_SHORT, &members, || {
            format!(
                "The search for a cycle of the kind {name} among {} transactions looked at too many of their \
                 dependencies, and stopped without a result.",
                members.len()
            )
        });
    }
    Ok(())
}
