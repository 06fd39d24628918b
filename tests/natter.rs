//! The test bench's program, with real processes.

#![cfg(all(feature = "workbench", not(loom)))]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

const NATTER: &str = env!("CARGO_BIN_EXE_natter");

fn natter(folder: &Path, args: &[&str]) -> Output {
    Command::new(NATTER).args(args).current_dir(folder).stdin(Stdio::null()).output().expect("natter starts")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A node written in shell.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("node.sh");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("allowed");
    path
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout_json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

#[test]
fn a_run_is_reported_by_maelstroms_names_and_stored() {
    let folder = folder();
    let args = [
        "test",
        "-w",
        "broadcast",
        "--node-count",
        "3",
        "--time-limit",
        "2",
        "--rate",
        "50",
        "--json",
        "--seed",
        "7",
    ];
    let output = natter(folder.path(), &args);
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), ""),
        "no progress without a terminal"
    );
    let results = stdout_json(&output);
    assert_eq!((&results["valid"], &results["seed"]), (&Json::from(true), &Json::from(7)));
    for name in ["all", "clients", "servers"] {
        for key in ["send-count", "recv-count", "msg-count", "msgs-per-op"] {
            assert!(results["net"][name][key].is_number(), "net.{name}.{key}");
        }
    }
    for key in ["0", "0.5", "0.95", "0.99", "1"] {
        assert!(results["workload"]["stable-latencies"][key].is_u64(), "{key}");
    }
    let workload = &results["workload"];
    let counts = [
        "attempt-count",
        "stable-count",
        "lost-count",
        "stale-count",
        "never-read-count",
        "duplicated-count",
    ];
    assert!(counts.iter().all(|key| workload[key].is_u64()), "{workload}");
    assert_eq!(results["availability"]["ok-fraction"], 1.0);
    assert_eq!(results["stats"]["by-f"]["read"]["valid"], true);
    assert_eq!(results["stats"]["count"], results["stats"]["ok-count"]);

    // init, topology and each operation are a message there and one back.
    let messages = results["net"]["clients"]["msg-count"].as_u64().expect("a count");
    assert_eq!(messages, 2 * (3 + 3 + results["stats"]["count"].as_u64().expect("a count")));

    let latest = folder.path().join("store/latest");
    assert_eq!(
        fs::canonicalize(&latest).expect("a link").parent(),
        Some(&*fs::canonicalize(folder.path().join("store/broadcast")).expect("a folder"))
    );
    let stored: Json =
        serde_json::from_slice(&fs::read(latest.join("results.json")).expect("a file")).expect("JSON");
    assert_eq!(stored, results);
    let history = fs::read_to_string(latest.join("history.jsonl")).expect("a file");
    let events: Vec<Json> = history.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len() as u64, 2 * results["stats"]["count"].as_u64().expect("a count"));
    assert!(events.iter().all(|event| ["invoke", "ok"].contains(&event["type"].as_str().expect("a type"))));
    assert!((0..3).all(|node| latest.join(format!("n{node}.log")).is_file()));
}

#[test]
fn the_summary_is_for_people() {
    let folder = folder();
    let output = natter(folder.path(), &["test", "-w", "unique-ids", "--time-limit", "1", "--rate", "200"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for part in
        ["operations", "between servers", "0 duplicated", "store/unique-ids/", "valid             yes"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// The counts are exact whatever the machine does; the latencies are in `virtual_time`, where time is exact.
#[test]
fn flooding_costs_24_messages_a_value_on_a_tree_and_56_on_a_grid() {
    let flood = Path::new(NATTER).with_file_name("examples").join("flood");
    assert!(
        flood.is_file(),
        "{} is not built: cargo test builds it, cargo test --test natter does not",
        flood.display()
    );
    let run = |topology: &str| {
        let folder = folder();
        let bin = flood.to_str().expect("UTF-8");
        let output = natter(
            folder.path(),
            &[
                "test",
                "-w",
                "broadcast",
                "--bin",
                bin,
                "--node-count",
                "25",
                "--latency",
                "100",
                "--rate",
                "50",
                "--time-limit",
                "2",
                "--topology",
                topology,
                "--json",
            ],
        );
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let results = stdout_json(&output);
        let messages = results["net"]["servers"]["msg-count"].as_u64().expect("a count");
        let values = results["workload"]["attempt-count"].as_u64().expect("a count");
        assert!(values > 0);
        (messages / values, messages % values)
    };
    std::thread::scope(|scope| {
        let tree = scope.spawn(|| run("tree4"));
        assert_eq!(run("grid"), (56, 0));
        assert_eq!(tree.join().expect("no panic"), (24, 0));
    });
}

#[test]
fn a_challenge_prints_who_met_which_target() {
    let folder = folder();
    let output = natter(folder.path(), &["challenge", "echo", "--design", "lock-free"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.lines().any(|row| ["echo", "lock-free", "valid", "yes"].iter().all(|cell| row.contains(cell))),
        "{text}"
    );
}

#[test]
fn the_readmes_node_is_an_example_that_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("readable");
    assert!(read("README.md").contains(&format!("```python\n{}```", read("examples/echo.py"))));
    // Where there is no Python, that it is there in full is all that can be seen.
    if Command::new("python3").arg("-V").output().is_err() {
        return;
    }
    let node = root.join("examples/echo.py");
    let args = [
        "test",
        "-w",
        "echo",
        "--node-count",
        "1",
        "--time-limit",
        "1",
        "--bin",
        node.to_str().expect("a path"),
    ];
    let output = natter(folder().path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_node_of_the_docs_passes_and_its_mistake_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("readable");
    let (docs, right) = (read("docs/test-a-node.md"), read("examples/broadcast.py"));
    assert!(docs.contains(&format!("```python\n{right}```")));
    if Command::new("python3").arg("-V").output().is_err() {
        return;
    }
    // The line that the docs add, after the one that sends.
    let mistake = docs.split("```python\n").nth(2).and_then(|rest| rest.split("```").next()).expect("a line");
    let send = right.lines().find(|line| line.contains("\"gossip\", \"values\"")).expect("it sends");
    let wrong = right.replace(&format!("{send}\n"), &format!("{send}\n{mistake}"));
    let run = |node: &str| {
        let folder = folder();
        let bin = folder.path().join("broadcast.py");
        fs::write(&bin, node).expect("writable");
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).expect("executable");
        // Often enough that something is lost in any case.
        let args =
            ["test", "-w", "broadcast", "--time-limit", "8", "--rate", "50", "--nemesis", "partition,loss"];
        natter(folder.path(), &[&args[..], &["--nemesis-interval", "1", "--bin", "./broadcast.py"]].concat())
    };
    let (right, wrong) = std::thread::scope(|scope| {
        let (right, wrong) = (scope.spawn(|| run(&right)), scope.spawn(|| run(&wrong)));
        (right.join().expect("no panic"), wrong.join().expect("no panic"))
    });
    assert_eq!(right.status.code(), Some(0), "{}", stderr(&right));
    assert_eq!(wrong.status.code(), Some(1), "{}", stderr(&wrong));
    let told = [wrong.stdout, wrong.stderr].concat();
    assert!(String::from_utf8_lossy(&told).contains("does not show it"));
}

/// A node that answers `init`, and every echo with the same text.
const WRONG_ECHO: &str = r#"while read -r line; do
    id=$(printf %s "$line" | sed 's/.*"msg_id":\([0-9]*\).*/\1/')
    src=$(printf %s "$line" | sed 's/.*"src":"\([^"]*\)".*/\1/')
    case $line in
        *'"init"'*) printf '{"src":"n0","dest":"%s","body":{"type":"init_ok","in_reply_to":%s}}\n' "$src" "$id";;
        *) printf '{"src":"n0","dest":"%s","body":{"type":"echo_ok","in_reply_to":%s,"echo":"?"}}\n' "$src" "$id";;
    esac
done"#;

#[test]
fn a_wrong_answer_is_invalid_and_status_1() {
    let folder = folder();
    let bin = script(folder.path(), WRONG_ECHO);
    let bin = bin.to_str().expect("UTF-8");
    let args = ["test", "-w", "echo", "--bin", bin, "--node-count", "1", "--time-limit", "1", "--json"];
    let output = natter(folder.path(), &args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stdout_json(&output)["valid"], false);
}

#[test]
fn a_report_is_made_of_a_run_at_once_or_later() {
    let folder = folder();
    let args = ["test", "-w", "echo", "--node-count", "1", "--time-limit", "1", "--report"];
    let output = natter(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let path = stderr(&output).lines().find_map(|line| line.strip_prefix("report: ").map(PathBuf::from));
    let html = fs::read_to_string(folder.path().join(path.expect("its path"))).expect("a report");
    assert!(html.contains("<strong>valid</strong>") && html.contains("natter test --workload echo"));
    let again = natter(folder.path(), &["report"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout).trim(), "store/latest/report.html");
    assert_eq!(fs::read_to_string(folder.path().join("store/latest/report.html")).expect("a report"), html);
    let none = natter(folder.path(), &["report", "store/nothing"]);
    assert_eq!(none.status.code(), Some(255));
    assert!(stderr(&none).contains("cannot make a report of store/nothing"), "{}", stderr(&none));
}

#[test]
fn a_challenge_that_is_not_met_says_why_and_where_the_run_is() {
    let folder = folder();
    let bin = script(folder.path(), WRONG_ECHO);
    let output = natter(folder.path(), &["challenge", "echo", "--bin", bin.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    for part in ["NO", "and answered \"?\"", "store/echo/"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_run_that_shows_nothing_is_unknown_and_status_2() {
    let folder = folder();
    let args = ["test", "-w", "broadcast", "--node-count", "1", "--time-limit", "0", "--rate", "0"];
    let output = natter(folder.path(), &args);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn runs_that_are_kept_are_listed_and_shown_again() {
    let folder = folder();
    let none = natter(folder.path(), &["list"]);
    assert!(none.status.code() == Some(255) && stderr(&none).contains("no run is kept"), "{}", stderr(&none));
    let args = ["test", "-w", "echo", "--node-count", "1", "--time-limit", "1", "--rate", "20"];
    let run = natter(folder.path(), &args);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert_eq!(natter(folder.path(), &["show"]).stdout, run.stdout);
    assert!(String::from_utf8_lossy(&run.stdout).contains("echo, 1 node, rate 20"));
    let list = natter(folder.path(), &["list"]);
    assert!(String::from_utf8_lossy(&list.stdout).starts_with("valid     echo             store/echo/"));
    assert_eq!(stdout_json(&natter(folder.path(), &["list", "--json"]))[0]["valid"], true);
    let shown = stdout_json(&natter(folder.path(), &["show", "--json"]));
    assert_eq!(
        (&shown["run"]["options"]["workload"], &shown["run"]["options"]["rate"]),
        (&Json::from("echo"), &Json::from(20.0))
    );
    let script = natter(folder.path(), &["completions", "bash"]).stdout;
    assert!(String::from_utf8_lossy(&script).contains("--nemesis-interval"));
}

#[test]
fn bad_arguments_are_status_254() {
    let folder = folder();
    assert_eq!(natter(folder.path(), &["challenge", "1", "--bin", "nothing"]).status.code(), Some(255));
    for args in [
        &["test"][..],
        &["test", "-w", "lin-kv"],
        &["test", "-w", "echo", "--node-count", "0"],
        &["test", "-w", "echo", "--rate", "-1"],
        &["test", "-w", "echo", "--latency-dist", "normal"],
        &["test", "-w", "echo", "--nemesis", "meteor"],
        &["test", "-w", "echo", "--availability", "2"],
        &["challenge", "9z"],
        &["fly"],
        &[],
    ] {
        let output = natter(folder.path(), args);
        assert_eq!(output.status.code(), Some(254), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(natter(folder.path(), &["test", "--help"]).status.code(), Some(0));
    assert!(!folder.path().join("store").exists());
}

/// Runs a broken node, which must end the run with status 255 and a message with all of `named`.
fn crashes(bin: &str, named: &[&str]) {
    let folder = folder();
    let bin = bin.replace("FOLDER", folder.path().to_str().expect("UTF-8"));
    let output = natter(
        folder.path(),
        &["test", "-w", "echo", "--bin", &bin, "--node-count", "1", "--time-limit", "30"],
    );
    let text = stderr(&output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(255), 0), "{text}");
    assert!(named.iter().all(|part| text.contains(part)) && !text.contains("panicked"), "{named:?}: {text}");
}

fn broken_node(text: &str, named: &[&str]) {
    let place = folder();
    crashes(script(place.path(), text).to_str().expect("UTF-8"), named);
}

#[test]
fn a_program_that_cannot_be_run_is_explained() {
    crashes("FOLDER/no-such-node", &["no-such-node", "No such file"]);
    crashes("FOLDER", &["--bin", "directory"]);
    let place = folder();
    let file = place.path().join("not-executable");
    fs::write(&file, "hello").expect("writable");
    crashes(file.to_str().expect("UTF-8"), &["n0", "not-executable", "chmod +x"]);
}

#[test]
fn a_node_that_dies_is_named_with_its_status_and_last_words() {
    broken_node(
        "echo first >&2; echo 'out of cheese' >&2; exit 3",
        &["n0", "status 3", "first", "out of cheese"],
    );
    broken_node("kill -9 $$", &["n0", "signal 9", "nothing to stderr"]);
}

#[test]
fn a_node_that_prints_no_json_is_named() {
    broken_node(
        "echo why >&2; echo Hello there; cat >/dev/null",
        &["n0", "not a message", "Hello there", "why"],
    );
}

#[test]
fn a_node_that_addresses_nobody_is_named() {
    let says = r#"{"src":"n0","dest":"n9","body":{"type":"x"}}"#;
    broken_node(&format!("echo '{says}'; cat >/dev/null"), &["n9", "dest", "does not exist"]);
}

#[test]
fn a_node_that_does_not_answer_init_is_named_after_ten_seconds() {
    broken_node(
        "echo thinking >&2; cat >/dev/null",
        &["n0", "did not answer `init` within 10 s", "thinking"],
    );
}

#[test]
fn no_node_outlives_natter_however_it_ends() {
    for signal in ["INT", "TERM", "HUP", "KILL"] {
        let folder = folder();
        let fifo = folder.path().join("alive");
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
        // Deaf to the end of its input, it holds the pipe open as long as it lives; and so does its child,
        // which can't be reached any more when natter has no time to.
        let child = if signal == "KILL" { "" } else { "sleep 1000 &" };
        let bin = script(folder.path(), &format!("exec 9>\"$1\"\necho up >&9\n{child}\nexec sleep 1000"));
        let (bin, pipe) = (bin.to_str().expect("UTF-8"), fifo.to_str().expect("UTF-8"));
        let args = ["test", "-w", "echo", "--bin", bin, "--node-count", "2", "--", pipe];
        let mut natter = Command::new(NATTER)
            .args(args)
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("natter starts");
        let mut alive = BufReader::new(fs::File::open(&fifo).expect("opened from both ends"));
        let mut line = String::new();
        for _ in 0..2 {
            alive.read_line(&mut line).expect("readable");
        }
        assert_eq!(line, "up\nup\n");
        let pid = natter.id().to_string();
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &pid]).status().expect("kill runs").success()
        );
        let status = natter.wait().expect("it ends");
        // As a shell tells of it: 128 and the signal's number.
        let told = match signal {
            "INT" => Some(130),
            "TERM" => Some(143),
            "HUP" => Some(129),
            _ => None,
        };
        assert_eq!(status.code(), told, "SIG{signal}");
        // Ends when nobody holds the pipe.
        alive.read_to_string(&mut line).expect("readable");
        assert_eq!(line, "up\nup\n", "SIG{signal}");
    }
}

#[test]
fn nodes_are_killed_and_paused_and_none_is_left_over() {
    let folder = folder();
    let fifo = folder.path().join("alive");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    // Every life of a node holds the pipe open as long as it lasts.
    let node = format!("exec 9>\"$1\"\necho up >&9\necho up >&2\nexec '{NATTER}' node --design simple");
    let bin = script(folder.path(), &node);
    let args = "test -w broadcast --node-count 3 --time-limit 4 --rate 20 --nemesis kill,pause \
                --nemesis-interval 0.7 --concurrency 10n --seed 5 --json --bin";
    let natter = Command::new(NATTER)
        .args(args.split_whitespace())
        .args([bin.as_os_str(), "--".as_ref(), fifo.as_os_str()])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("natter starts");
    let mut alive = BufReader::new(fs::File::open(&fifo).expect("opened from both ends"));
    let output = natter.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut lives = String::new();
    // Ends when nobody holds the pipe.
    alive.read_to_string(&mut lives).expect("readable");

    let workload = &stdout_json(&output)["workload"];
    assert_eq!((&workload["lost-count"], &workload["valid"]), (&0.into(), &true.into()));
    let latest = folder.path().join("store/latest");
    let history = fs::read_to_string(latest.join("history.jsonl")).expect("a file");
    let events: Vec<Json> = history.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let count = |f: &str| events.iter().filter(|event| event["f"] == f).count();
    assert!(count("kill") > 0 && count("pause") > 0);
    assert_eq!((count("kill"), count("pause")), (count("restart"), count("resume")), "all is healed");
    assert_eq!(lives.lines().count(), 3 + count("restart"));
    let logs = (0..3).map(|node| fs::read_to_string(latest.join(format!("n{node}.log"))).expect("a log"));
    let said: usize = logs.map(|log| log.lines().filter(|line| *line == "up").count()).sum();
    assert_eq!(said, 3 + count("restart"), "all lives of a node are in one log");
}

#[test]
fn a_node_that_cannot_be_started_again_ends_the_run() {
    let folder = folder();
    // Takes itself away, so that there is nothing to start a second time.
    let bin = script(folder.path(), &format!("rm \"$0\"\nexec '{NATTER}' node"));
    let args =
        "test -w echo --node-count 1 --time-limit 20 --nemesis kill --nemesis-interval 0.1 --seed 1 --bin";
    let args: Vec<&str> = args.split_whitespace().chain([bin.to_str().expect("UTF-8")]).collect();
    let output = natter(folder.path(), &args);
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("cannot start n0"), "{}", stderr(&output));
}

#[test]
fn a_simulation_says_what_it_runs_and_what_came_of_it() {
    let folder = folder();
    let args = "simulate --seeds 5 --first-seed 3 --node-count 4 --time-limit 3 --design simple";
    let args: Vec<&str> = args.split(' ').collect();
    let output = natter(folder.path(), &args);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().next().expect("a line up front");
    for part in ["5 seeds from 3 on", "4 nodes of the simple design", "3 s at rate 100", "faults: all"] {
        assert!(first.contains(part), "{part:?} is missing in {first:?}");
    }
    for part in ["messages an operation", "stable latency", "last healing", "valid", "yes"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let json = natter(folder.path(), &[&args[..], &["--json"]].concat());
    let summary = stdout_json(&json);
    assert_eq!((&summary["valid"], &summary["seeds"]), (&Json::from(true), &Json::from(5)));
    assert!(text.contains(summary["digest"].as_str().expect("text")), "the same histories");
    assert!(fs::read_dir(folder.path()).expect("readable").next().is_none(), "it writes no files");
}

#[test]
fn a_simulation_that_makes_no_sense_is_status_254() {
    let folder = folder();
    for (args, named) in [
        (&["--seeds", "0"][..], "--seeds"),
        (&["--faults", "rain"], "rain"),
        (&["--node-count", "0"], "--node-count"),
        (&["--", "--design", "simple"], "--design before --"),
        (&["--", "--nonsense"], "--nonsense"),
    ] {
        let output = natter(folder.path(), &[&["simulate"], args].concat());
        assert_eq!(output.status.code(), Some(254), "{args:?}");
        assert!(stderr(&output).contains(named), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_plan_is_printed_for_each_budget_once_and_in_order() {
    let folder = folder();
    let plan =
        |args: &[&str]| natter(folder.path(), &[&["plan", "--budgets", "1400,100,565,565"], args].concat());
    let output = plan(&["--json"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let json = stdout_json(&output);
    assert_eq!(
        (&json["node-count"], &json["latency-ms"], &json["rate"]),
        (&25.into(), &100.0.into(), &100.0.into())
    );
    let rows = json["rows"].as_array().expect("rows");
    let budgets: Vec<_> = rows.iter().map(|row| (&row["budget-ms"], &row["predicted"]["strategy"])).collect();
    assert_eq!(
        budgets,
        [
            (&100.into(), &"direct".into()),
            (&565.into(), &"star-aligned".into()),
            (&1400.into(), &"star-aligned".into())
        ]
    );
    for row in rows {
        for key in ["period-ms", "msgs-per-op", "median-ms", "max-ms"] {
            assert!(row["predicted"][key].is_f64(), "{key}: {row}");
        }
        assert!(row["bound-msgs-per-op"].as_f64() <= row["predicted"]["msgs-per-op"].as_f64(), "{row}");
        assert!(row["measured"].is_null(), "{row}");
    }
    let text = String::from_utf8(plan(&[]).stdout).expect("UTF-8");
    assert!(
        text.lines().count() == 5 && text.contains("star, aligned") && !text.contains("measured"),
        "{text}"
    );
}

#[test]
fn what_a_plan_should_cost_is_what_it_does_cost() {
    let folder = folder();
    let output = natter(
        folder.path(),
        &["plan", "--budgets", "565", "--measure", "--seeds", "1", "--json", "--svg", "plan.svg"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let row = &stdout_json(&output)["rows"][0];
    let (predicted, measured) = (&row["predicted"], &row["measured"]);
    assert_eq!((&measured["valid"], &measured["seeds"]), (&true.into(), &1.into()));
    for (what, spread) in
        [("msgs-per-op", "msgs-per-op"), ("median-ms", "median-latency-ms"), ("max-ms", "max-latency-ms")]
    {
        let ratio = measured[spread]["max"].as_f64().expect("measured")
            / predicted[what].as_f64().expect("predicted");
        assert!((0.9..1.1).contains(&ratio), "{what}: {ratio}");
    }
    let svg = fs::read_to_string(folder.path().join("plan.svg")).expect("a picture");
    assert!(is_well_formed(&svg) && svg.contains("measured, the worst seed"), "{svg}");
}

#[test]
fn the_picture_shows_what_others_published_where_they_can_be_compared() {
    let folder = folder();
    let path = folder.path().join("plan.svg");
    fs::write(&path, "something longer than that".repeat(10_000)).expect("writable");
    let draw = |args: &[&str]| {
        let output = natter(folder.path(), &[&["plan", "--svg", "plan.svg"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let svg = fs::read_to_string(&path).expect("a picture");
        assert!(is_well_formed(&svg), "{svg}");
        svg
    };
    let others = ["teivah, 3d", "dstdfx", "fersilva16", "seyoungjkim", "maszlasz", "DnMllr", "teivah, 3e"];
    let svg = draw(&[]);
    for text in
        others.iter().chain(&["no scheme can go below", "predicted: direct", "predicted: star, aligned"])
    {
        assert!(svg.contains(text), "{text}");
    }
    assert!(!svg.contains("measured"));
    for setting in [&["--node-count", "1"][..], &["--latency", "0"], &["--rate", "0", "--budgets", "565"]] {
        let svg = draw(setting);
        assert!(!others.iter().any(|text| svg.contains(text)), "{setting:?}");
    }
}

/// Whether every tag is closed, and the last one is the picture's.
fn is_well_formed(svg: &str) -> bool {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1).filter_map(|text| text.split_once('>')).map(|(tag, _)| tag) {
        match tag.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return false,
            None if !tag.ends_with('/') => open.extend(tag.split_whitespace().next()),
            _ => {}
        }
    }
    open.is_empty() && svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>")
}

#[test]
fn a_plan_for_nothing_sensible_is_refused() {
    let folder = folder();
    for (args, says) in [
        (&["--budgets", "0"][..], "0 is not in 1..=3600000"),
        (&["--budgets="], "empty"),
        (&["--budgets=565,-1"], "'-1'"),
        (&["--budgets", "100,NaN"], "'NaN'"),
        (&["--budgets", "99999999999"], "is not in"),
        (&["--latency", "inf"], "must be from 0"),
        (&["--node-count", "0"], "is not in"),
        (&["--seeds", "3"], "--measure"),
        (&["--first-seed", "3"], "--measure"),
        (&["--measure", "--seeds", "0"], "is not in"),
    ] {
        let output = natter(folder.path(), &[&["plan"], args].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(254), 0), "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
    // Before anything is measured.
    let output = natter(folder.path(), &["plan", "--measure", "--svg", "no-such-folder/plan.svg"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(255), 0));
    assert!(stderr(&output).contains("cannot write to no-such-folder/plan.svg"), "{}", stderr(&output));
}

#[test]
fn two_designs_are_compared_on_the_loads_that_were_named() {
    let folder = folder();
    let output = natter(folder.path(), &["compare", "read", "echo", "--messages", "50"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').take(3).map(|cell| cell.trim().to_owned()).collect()
    };
    assert_eq!(
        printed.lines().skip(2).map(cells).collect::<Vec<_>>(),
        [
            ["read", "lock-free", "50"],
            ["read", "simple", "50"],
            ["echo", "lock-free", "50"],
            ["echo", "simple", "50"]
        ]
    );
    let rows = stdout_json(&natter(folder.path(), &["compare", "delta", "--messages", "5", "--json"]));
    assert_eq!(rows[0]["load"], "delta");
    assert!(rows[0]["cpu-ratio"].is_number() && rows[0]["simple"]["cpu-us-per-message"].is_number());
}

#[test]
fn the_code_of_the_docs_is_that_of_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("readable");
    let (docs, example) = (read("docs/write-a-node.md"), read("examples/echo.rs"));
    let shown = docs.split("```rust\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("a node");
    let code = example.split_once("\n\n").expect("a comment comes first").1;
    let before_the_mistake = code.split("\n\n    #[test]\n    #[should_panic").next().expect("a test");
    assert_eq!(shown, format!("{before_the_mistake}\n}}"));
    // The scripted test is one of another example, where it stands further in.
    let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let script = docs.split("```rust\n").find(|block| block.contains("Scripted::started")).expect("a script");
    let script = script.split_once("#[test]").and_then(|(_, rest)| rest.split("```").next()).expect("a test");
    assert!(lines(&read("examples/broadcast.rs")).contains(lines(script).trim()));
}
