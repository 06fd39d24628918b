//! A counter that goes up and down, as a replicated data type: each node counts for itself, and tells the others its sums.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use natter::app::{App, Context, Error};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Add {
    delta: i64,
}

/// For each node what was added to it and what was taken away: both only grow, so that of two numbers the greater is the later.
type Sums = BTreeMap<String, (u64, u64)>;

#[derive(Deserialize)]
struct Merge {
    sums: Sums,
}

type Node = Context<Sums>;

async fn add(node: Node, Add { delta }: Add) -> Result<(), Error> {
    node.state(|sums| {
        let (up, down) = sums.entry(node.id().to_string()).or_default();
        *(if delta < 0 { down } else { up }) += delta.unsigned_abs();
    });
    Ok(())
}

async fn read(node: Node, _: Value) -> Result<Value, Error> {
    let total = node
        .state(|sums| sums.values().map(|&(up, down)| up.cast_signed() - down.cast_signed()).sum::<i64>());
    Ok(json!({ "value": total }))
}

async fn merge(node: Node, Merge { sums: theirs }: Merge) -> Result<(), Error> {
    node.state(|sums| {
        for (name, (up, down)) in theirs {
            let ours = sums.entry(name).or_default();
            *ours = (ours.0.max(up), ours.1.max(down));
        }
    });
    Ok(())
}

async fn tell_others(node: Node) {
    let sums = node.state(|sums| sums.clone());
    for other in node.others() {
        node.send(other, json!({ "type": "merge", "sums": sums }));
    }
}

fn app() -> App<Sums> {
    App::new(Sums::new())
        .on("add", add)
        .on("read", read)
        .on("merge", merge)
        .every(Duration::from_millis(500), tell_others)
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::check::availability::Availability;
    use natter::cluster::scenario::FaultKind::Partition;
    use natter::workload::pn_counter;

    #[test]
    fn every_final_read_shows_the_sum_and_nodes_answer_while_they_are_cut_off() {
        let check = natter::check(pn_counter::KIND).rate(100.0).faults([Partition]);
        check.availability(Availability::Total).seeds(0..100).run(app);
    }

    #[test]
    #[should_panic(expected = "but the additions that were acknowledged make")]
    fn a_node_that_counts_what_it_is_told_twice_is_found() {
        async fn add_up(node: Node, Merge { sums: theirs }: Merge) -> Result<(), Error> {
            node.state(|sums| {
                for (name, (up, down)) in theirs.into_iter().filter(|(name, _)| **name != *node.src()) {
                    let ours = sums.entry(name).or_default();
                    *ours = (ours.0 + up, ours.1 + down);
                }
            });
            Ok(())
        }
        let wrong = || {
            App::new(Sums::new())
                .on("add", add)
                .on("read", read)
                .on("merge", add_up)
                .every(Duration::from_secs(5), tell_others)
        };
        natter::check(pn_counter::KIND).time_limit(Duration::from_secs(3)).nodes(3).seeds(0..100).run(wrong);
    }
}
