//! Challenge 2: ids that are never handed out twice, without asking anybody.

use std::process::ExitCode;

use natter::app::App;
use serde_json::{Value, json};

fn app() -> App<()> {
    // The name tells nodes apart, 128 random bits tell apart what one node hands out, also before and after it was killed.
    App::new(()).on("generate", |node, _: Value| async move {
        let id = format!("{}-{:016x}{:016x}", node.id(), node.random(), node.random());
        Ok(json!({ "id": id }))
    })
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::check::availability::Availability;
    use natter::cluster::scenario::FaultKind::Partition;
    use natter::workload::unique_ids;

    #[test]
    fn ids_differ_and_nodes_answer_while_they_are_cut_off() {
        let check = natter::check(unique_ids::KIND).nodes(3).rate(1000.0).faults([Partition]);
        check.availability(Availability::Total).seeds(0..100).run(app);
    }

    #[test]
    #[should_panic(expected = "was handed out 2 times")]
    fn nodes_that_count_each_for_itself_are_found() {
        let wrong = || {
            App::new(0).on("generate", |node, _: Value| async move {
                Ok(json!({ "id": node.state(|count| std::mem::replace(count, *count + 1)) }))
            })
        };
        natter::check(unique_ids::KIND).nodes(3).seeds(0..100).run(wrong);
    }
}
