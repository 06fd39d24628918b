//! Challenge 4: a counter that only goes up, on the sequentially consistent store.
//!
//! Each node adds to a key of its own, so that nodes never come in between each other. What the store shows may be old, but not
//! older than what the node itself wrote last: so a read writes something first.

use std::process::ExitCode;

use natter::app::{App, Context, Error};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Add {
    delta: i64,
}

async fn add(node: Context<()>, Add { delta }: Add) -> Result<(), Error> {
    node.seq_kv().update(node.id(), |sum: Option<&i64>| sum.unwrap_or(&0) + delta).await?;
    Ok(())
}

async fn read(node: Context<()>, _: Value) -> Result<Value, Error> {
    node.seq_kv().write(format!("{} was here", node.id()), node.random()).await?;
    let mut total = 0;
    for member in node.members() {
        total += node.seq_kv().read::<i64>(member).await?.unwrap_or(0);
    }
    Ok(json!({ "value": total }))
}

fn app() -> App<()> {
    App::new(()).on("add", add).on("read", read)
}

pub(crate) fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::cluster::scenario::FaultKind::{Kill, Partition, Pause};
    use natter::cluster::scenario::LatencyDist;
    use natter::workload::g_counter;
    use std::time::Duration;

    #[test]
    fn every_final_read_shows_the_sum() {
        natter::check(g_counter::KIND)
            .nodes(3)
            .rate(100.0)
            .faults([Partition, Kill, Pause])
            .seeds(0..100)
            .run(app);
    }

    #[test]
    #[should_panic(expected = "but the additions that were acknowledged make")]
    fn nodes_that_come_in_between_each_other_are_found() {
        async fn add_to_one(node: Context<()>, Add { delta }: Add) -> Result<(), Error> {
            let sum = node.seq_kv().read("sum").await?.unwrap_or(0);
            node.seq_kv().write("sum", sum + delta).await
        }
        async fn read_one(node: Context<()>, _: Value) -> Result<Value, Error> {
            node.seq_kv().write("fresh", node.random()).await?;
            Ok(json!({ "value": node.seq_kv().read::<i64>("sum").await?.unwrap_or(0) }))
        }
        let wrong = || App::new(()).on("add", add_to_one).on("read", read_one);
        let slow = natter::check(g_counter::KIND).latency(Duration::from_millis(20), LatencyDist::Constant);
        slow.nodes(3).rate(100.0).seeds(0..100).run(wrong);
    }
}
