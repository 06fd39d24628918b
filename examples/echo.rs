//! Challenge 1: values come back as they were sent.

use std::process::ExitCode;

use natter::app::App;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize, Serialize)]
struct Echo {
    echo: Value,
}

fn app() -> App<()> {
    App::new(()).on("echo", |_, request: Echo| async { Ok(request) })
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::workload::echo;

    #[test]
    fn values_come_back() {
        natter::check(echo::KIND).nodes(3).seeds(0..100).run(app);
    }

    #[test]
    #[should_panic(expected = "and answered null")]
    fn a_node_that_answers_something_else_is_found() {
        let wrong = || App::new(()).on("echo", |_, _: Echo| async { Ok(Echo { echo: Value::Null }) });
        natter::check(echo::KIND).nodes(3).seeds(0..100).run(wrong);
    }
}
