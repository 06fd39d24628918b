//! Simulated runs: they hold, and they repeat to the bit.

#![cfg(all(feature = "workbench", not(loom)))]

use clap::Parser;
use natter::simulate::{Keep, Options, Run, Simulation, Summary, digest, survey};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn options(line: &str) -> Options {
    Cli::try_parse_from(std::iter::once("simulate").chain(line.split_whitespace()))
        .expect("valid options")
        .options
}

fn simulation(line: &str) -> Simulation {
    options(line).simulation().expect("valid options")
}

fn simulate(line: &str, seeds: u64) -> Summary {
    survey(&simulation(line), 1, seeds, |_, _| {})
}

/// That they don't depend on the build either is for the gate: it compares two builds.
#[test]
fn histories_are_the_same_whenever_they_are_made() {
    for design in ["lock-free", "simple", "mixed"] {
        let simulation = simulation(&format!("--design {design} --node-count 9"));
        for seed in 1..=4 {
            let history = || digest(&simulation.run(seed, Keep::default()).history);
            assert_eq!(history(), history(), "{design}, seed {seed}");
        }
    }
}

#[test]
fn a_survey_does_not_depend_on_which_core_is_faster() {
    let summaries = [(); 2]
        .map(|()| Summary { took_s: 0.0, ..simulate("--design simple --node-count 5 --time-limit 5", 20) });
    let [first, second] = summaries.map(|summary| serde_json::to_string(&summary).expect("JSON"));
    assert_eq!(first, second);
}

/// Runs that hold, whatever the options.
fn holds(line: &str, seeds: u64) {
    for seed in 1..=seeds {
        let summary = survey(&simulation(line), seed, 1, |_, _| {});
        assert!(summary.valid, "{line}: {:#?}", summary.failures);
        assert!(summary.msgs_per_op.expect("some").max < 500.0);
    }
}

/// Tests once for each design.
macro_rules! designs {
    ($($(#[$meta:meta])* fn $name:ident($design:ident) $body:block)*) => {
        mod lock_free {
            $($(#[$meta])* #[test] fn $name() { super::$name("lock-free"); })*
        }
        mod simple {
            $($(#[$meta])* #[test] fn $name() { super::$name("simple"); })*
        }
        mod mixed {
            $($(#[$meta])* #[test] fn $name() { super::$name("mixed"); })*
        }
        $(fn $name($design: &str) $body)*
    };
}

designs! {
    fn runs_hold(design) {
        holds(&format!("--design {design}"), 5);
    }

    fn runs_hold_with_other_options_too(design) {
        for more in [
            "--latency-dist exponential",
            "--latency 0 --node-count 5",
            "--node-count 1",
            "--node-count 2 -- --flush-interval 0 --latency-budget 0",
            "--node-count 7 -- --batch-max 4",
            "--node-count 7 -- --latency-budget 120",
            "--node-count 7 -- --latency-budget 1400",
            "--node-count 7 -- --latency-budget 5000",
            "--node-count 7 --faults lasting-cut",
        ] {
            holds(&format!("--design {design} --time-limit 8 {more}"), 4);
        }
    }

    fn echoes_and_ids_are_right_whatever_strikes(design) {
        for workload in ["echo", "unique-ids"] {
            holds(&format!("--design {design} --workload {workload} --node-count 5"), 20);
        }
    }

    fn messages_may_take_seconds(design) {
        for more in ["--latency 3000", "--latency 2500 --latency-dist uniform"] {
            holds(&format!("--design {design} --node-count 5 --rate 20 --faults none {more}"), 5);
        }
    }

    /// Where little is said, who is cut off doesn't notice, and somebody else has to tell it what it lacks.
    fn quiet_nodes_behind_lasting_cuts_get_everything(design) {
        holds(&format!("--design {design} --rate 2 --node-count 9 --faults lasting-cut"), 20);
    }

    /// Nobody says anything any more that would show what others lack.
    fn what_was_said_before_a_node_died_reaches_all_that_live(design) {
        for more in ["--node-count 5", "--node-count 3", "--node-count 5 -- --latency-budget 120"] {
            holds(&format!("--design {design} --time-limit 3 --rate 5 --faults lull,kill-for-good {more}"), 100);
        }
    }
}

#[test]
fn quiet_nodes_of_25_behind_lasting_cuts_get_everything() {
    holds("--design lock-free --rate 2 --faults lasting-cut", 30);
}

#[test]
fn queues_of_the_simple_design_that_overflow_lose_nothing() {
    holds("--design simple --time-limit 8 --node-count 7 -- --queue-limit 16 --batch-max 4", 10);
}

/// Runs with many kills and some other faults.
fn with_kills(more: &str, seeds: u64, mut look: impl FnMut(u64, Run)) {
    for design in ["lock-free", "simple"] {
        let simulation = simulation(&format!("--design {design} --time-limit 8 {more}"));
        for seed in 1..=seeds {
            look(seed, simulation.run(seed, Keep::default()));
        }
    }
}

/// Late messages of former lives are the hardest, and in small clusters nobody else makes up for a mistake.
#[test]
fn a_restarted_node_is_complete_again_whatever_its_former_lives_have_sent() {
    let mut restarts = 0;
    for more in [
        "--node-count 2 --faults kill,delay,duplication,loss",
        "--node-count 3 --faults kill,delay,pause,one-way",
        "--node-count 5 --faults kill",
    ] {
        with_kills(more, 30, |seed, run| {
            assert_eq!(run.failure, None, "{more}, seed {seed}");
            assert!(run.holdings.iter().all(|holding| *holding == run.holdings[0]), "{more}, seed {seed}");
            restarts += run.history.events().iter().filter(|event| event.f == "restart").count();
        });
    }
    assert!(restarts > 100, "{restarts}");
}

#[test]
fn a_value_that_died_with_its_only_holder_is_no_failure_and_is_reported_as_died() {
    let mut died = 0;
    with_kills("--node-count 1 --faults kill", 10, |seed, run| {
        assert_eq!(run.failure, None, "seed {seed}");
        let workload = serde_json::to_value(&run.results.workload).expect("JSON");
        assert_eq!(
            (&workload["lost-count"], workload["died-count"].as_u64()),
            (&0.into(), Some(workload["died"].as_array().expect("values").len() as u64))
        );
        died += workload["died-count"].as_u64().expect("a count");
    });
    assert!(died > 100, "{died}");
}

#[test]
fn options_for_nodes_that_the_simulator_sets_are_refused() {
    for (line, named) in [
        ("-- --design simple", "--design"),
        ("-- --seed 3", "--first-seed"),
        ("-- --retry-min 9999", "--retry-max"),
    ] {
        let error = options(line).simulation().expect_err("refused").to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn the_command_of_a_run_stands_for_the_same_run() {
    let line = "--design simple --node-count 4 --time-limit 2.5 --rate 30 --latency 7 --latency-dist uniform \
                --latency-jitter 2.5 --faults loss,pause -- --batch-max 3";
    let simulation = simulation(line);
    let command = simulation.command(17);
    let again = options(command.strip_prefix("natter simulate ").expect("the command's name"));
    assert_eq!((again.seeds, again.first_seed), (1, Some(17)));
    let again = again.simulation().expect("valid options");
    assert_eq!(again.command(17), command);
    let history = |simulation: &Simulation| digest(&simulation.run(17, Keep::default()).history);
    assert_eq!(history(&again), history(&simulation));
}
