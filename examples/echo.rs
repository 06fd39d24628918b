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

#[test]
fn echoes_come_back() {
    natter::check(natter::workload::echo::KIND).nodes(3).seeds(0..100).run(app);
}
