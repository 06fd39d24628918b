//! Simulated runs: they hold, they repeat to the bit, and they find the bugs that are planted.

#![cfg(all(feature = "workbench", not(loom)))]

use clap::Parser;
use natter::workbench::simulate::{Keep, Options, Run, Simulation, Summary, digest, survey};

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

/// The histories of two seeds. They change with any change in what nodes or the bench do, and may not change
/// with the time, the machine or the build: the gate runs this test at two levels of optimisation.
#[test]
fn histories_are_the_same_whenever_wherever_and_however_built() {
    for (design, seed, expected) in [
        ("lock-free", 1, "f336be68b26a5867"),
        ("lock-free", 2, "c0085adb886be3ff"),
        ("simple", 1, "8d5b5c4e43ea9239"),
        ("simple", 2, "c0a373f26dfd8ced"),
    ] {
        let simulation = simulation(&format!("--design {design}"));
        let run = || format!("{:016x}", digest(&simulation.run(seed, Keep::default()).history));
        let (once, again) = (run(), run());
        assert_eq!(once, again);
        assert_eq!(once, expected, "{design}, seed {seed}");
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

#[test]
fn both_designs_hold() {
    for design in ["lock-free", "simple"] {
        holds(&format!("--design {design}"), 20);
    }
}

#[test]
fn they_hold_with_other_options_too() {
    for design in ["lock-free", "simple"] {
        for more in [
            "--latency-dist exponential",
            "--latency 0 --node-count 5",
            "--node-count 1",
            "--node-count 2 -- --flush-interval 0 --latency-budget 0",
            "--node-count 7 -- --queue-limit 16 --batch-max 4",
            "--node-count 7 -- --latency-budget 120",
            "--node-count 7 -- --latency-budget 1400",
            "--node-count 7 --faults lasting-cut",
        ] {
            holds(&format!("--design {design} --time-limit 8 {more}"), 10);
        }
    }
}

/// Where little is said, who is cut off doesn't notice, and somebody else has to tell it what it lacks.
#[test]
fn quiet_nodes_behind_lasting_cuts_get_everything() {
    holds("--rate 2 --faults lasting-cut", 100);
}

/// One run that has failed before.
fn holds_now(line: &str, seed: u64) {
    let failure = simulation(line).run(seed, Keep::default()).failure;
    assert_eq!(failure, None, "{line}, seed {seed}");
}

/// A node told some of its peers a value, said that it would tell the others, too, and died. Its next life knows of nothing.
#[test]
fn what_a_node_died_telling_everyone_reaches_everyone() {
    for seed in [14_645, 27_527, 58_593] {
        holds_now("--node-count 9 --rate 20", seed);
    }
}

/// A node had said that it would tell a peer in another tree a value, and found the peer to hold it as that compared with
/// it. It went on thinking that the peer was its to tell, and asked it for nothing.
#[test]
fn a_peer_that_lacks_nothing_is_in_another_tree_again() {
    holds_now("--node-count 5 --rate 20", 5986);
}

/// A clock that ran wrong had made the network look slow, and a batch was not sent again for 4.8 seconds.
#[test]
fn a_clock_that_ran_wrong_keeps_no_batch_for_longer_than_the_longest_wait() {
    holds_now("--node-count 5 --rate 20", 23_188);
}

/// A node that was cut off from all but one took that for a member of its own tree, by what it had said long ago, and
/// neither called the other.
#[test]
fn what_a_peer_said_of_its_tree_long_ago_does_not_count() {
    holds_now("--node-count 5 --rate 10", 96_904);
}

/// Two batches went out one just after the other, and both were lost. The second one was counted as if it had been sent
/// after the first had not been answered, and the peer was given up.
#[test]
fn what_was_lost_together_is_no_reason_to_give_a_peer_up() {
    holds_now("--node-count 5", 51);
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
                --faults loss,pause -- --batch-max 3";
    let simulation = simulation(line);
    let command = simulation.command(17);
    let again = options(command.strip_prefix("natter simulate ").expect("the command's name"));
    assert_eq!((again.seeds, again.first_seed), (1, Some(17)));
    let again = again.simulation().expect("valid options");
    assert_eq!(again.command(17), command);
    let history = |simulation: &Simulation| digest(&simulation.run(17, Keep::default()).history);
    assert_eq!(history(&again), history(&simulation));
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use clap::ValueEnum;
    use natter::planted::Bug;
    use natter::workbench::simulate::planted::hunt;
    use natter::workbench::simulate::{Failing, Minimised, story};
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn every_planted_bug_is_found_and_every_check_finds_one() {
        let mut finders = BTreeSet::new();
        for &bug in Bug::value_variants() {
            let found = hunt(bug, &options(""), 1, 300).expect("valid options").found;
            finders.insert(found.unwrap_or_else(|| panic!("{bug:?} is not found")).0);
        }
        let all = [
            "answers",
            "bound",
            "completeness",
            "duplicates",
            "invariant",
            "noise",
            "plan",
            "protocol",
            "silence",
        ];
        assert_eq!(finders.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn the_story_of_a_lost_value_says_how_it_was_lost() {
        let line = "--bug stale-ack-frees --node-count 5 --faults partition,duplication,delay,pause";
        // One that can be made smaller.
        let summary = survey(&simulation(line), 42, 1, |_, _| {});
        assert!(!summary.valid && !summary.failures.is_empty());
        let minimised = Minimised::of(&summary, &simulation(line), Duration::MAX).expect("a failing run");
        let command = &minimised.found.command;
        assert!(!command.contains("--node-count 5 "), "{command}");
        let told = minimised.story.join("\n");
        for part in [
            "the story of",
            " broadcasts ",
            ": batch ",
            "the acknowledgement of others, all before ",
            "it waits nowhere",
        ] {
            assert!(told.contains(part), "{part:?} is missing in:\n{told}");
        }
    }

    #[test]
    fn stories_tell_of_values_that_travel_in_repairs() {
        let simulation =
            simulation("--bug repair-one-sided --node-count 5 --rate 5 --faults lasting-cut,partition");
        let stories = (1..=50).filter_map(|seed| {
            let failure = simulation.run(seed, Keep::default()).failure?;
            Some(story(&Failing { simulation: simulation.clone(), seed, failure }).join("\n"))
        });
        let stories: Vec<String> = stories.collect();
        assert!(stories.iter().any(|told| told.contains(", in a repair")), "{stories:#?}");
    }

    #[test]
    fn a_failing_simulation_is_status_1_and_tells_all() {
        let natter = |more: &[&str]| {
            let args = ["simulate", "--seeds", "10", "--first-seed", "3", "--bug", "last-peer-skipped"];
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_natter"));
            command.args(args).args(more).output().expect("natter starts")
        };
        let output = natter(&[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1));
        let failing = text.lines().find_map(|line| line.strip_prefix("seed ")?.split(':').next());
        let failing = failing.unwrap_or_else(|| panic!("no failing seed in:\n{text}"));
        let command = format!("natter simulate --seeds 1 --first-seed {failing} ");
        for part in [&*command, "made as small as", "the story of"] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
        let output = natter(&["--json"]);
        assert_eq!(output.status.code(), Some(1));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
        assert_eq!(
            (&summary["valid"], &summary["failures"][0]["found-by"]),
            (&false.into(), &"completeness".into())
        );
        assert!(summary["minimised"]["story"].is_array());
    }

    #[test]
    fn a_minimised_command_shows_the_same_again() {
        for bug in ["drop-oldest", "down-for-good", "resend-acked"] {
            let line = format!("--bug {bug}");
            let minimised = Minimised::of(&simulate(&line, 10), &simulation(&line), Duration::MAX)
                .expect("a failing run")
                .found;
            let again =
                options(minimised.command.strip_prefix("natter simulate ").expect("the command's name"));
            let seed = again.first_seed.expect("a seed");
            let failure = again.simulation().expect("valid options").run(seed, Keep::default()).failure;
            assert_eq!(failure.expect("it fails").to_string(), minimised.what);
        }
    }
}
