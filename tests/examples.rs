//! Each example as processes, under the faults of its challenge, judged by `natter test`.
//!
//! Cargo tests examples without building their programs, so these are built first:
//!
//! ```text
//! cargo build --examples
//! cargo test --test examples -- --ignored
//! ```

#![cfg(all(feature = "workbench", not(loom)))]

use std::path::Path;
use std::process::{Command, Output};
use std::thread;

const NATTER: &str = env!("CARGO_BIN_EXE_natter");

/// Examples, with the options of `natter test` under which each must be valid.
const EXAMPLES: [(&str, &str); 14] = [
    ("broadcast", "-w broadcast --node-count 5 --rate 50 --latency 20 --nemesis partition,kill,pause"),
    ("broadcast_naive", "-w broadcast --node-count 5 --rate 20 --nemesis partition"),
    ("echo", "-w echo --node-count 1 --rate 50"),
    ("g_counter", "-w g-counter --node-count 3 --rate 50 --nemesis partition"),
    ("g_set", "-w g-set --node-count 3 --rate 50 --nemesis partition"),
    ("kafka", "-w kafka --node-count 2 --concurrency 2n --rate 200"),
    ("kafka_lin_kv", "-w kafka --node-count 2 --concurrency 2n --rate 200"),
    ("kafka_single", "-w kafka --node-count 1 --concurrency 2n --rate 200"),
    ("lin_kv", "-w lin-kv --node-count 3 --concurrency 2n --rate 20 --latency 5 --nemesis partition,pause"),
    ("pn_counter", "-w pn-counter --node-count 3 --rate 50 --nemesis partition"),
    ("txn_rw_register", "-w txn-rw-register --node-count 1 --concurrency 2n --rate 200"),
    (
        "txn_rw_register",
        "-w txn-rw-register --node-count 2 --concurrency 2n --rate 200 --consistency-models read-uncommitted --availability total --nemesis partition",
    ),
    (
        "txn_rw_register",
        "-w txn-rw-register --node-count 2 --concurrency 2n --rate 200 --consistency-models read-committed --availability total --nemesis partition",
    ),
    ("unique_ids", "-w unique-ids --node-count 3 --rate 500 --availability total --nemesis partition"),
];

fn judge(example: &str, options: &str, store: &Path) -> Output {
    let node = Path::new(NATTER).with_file_name("examples").join(example);
    assert!(node.exists(), "{} is built by `cargo build --examples`", node.display());
    let mut natter = Command::new(NATTER);
    natter.arg("test").args(options.split(' ')).args(["--time-limit", "8", "--nemesis-interval", "2"]);
    natter.arg("--bin").arg(node).current_dir(store).output().expect("natter runs")
}

#[test]
#[ignore = "needs the programs of the examples: cargo build --examples"]
fn each_example_is_valid_under_the_faults_of_its_challenge() {
    thread::scope(|scope| {
        let runs = EXAMPLES.map(|(example, options)| {
            scope.spawn(move || {
                let store = tempfile::tempdir().expect("a folder");
                (example, options, judge(example, options, store.path()))
            })
        });
        for run in runs {
            let (example, options, output) = run.join().expect("no panic");
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{example} {options}:\n{}", String::from_utf8_lossy(&said));
        }
    });
}

#[test]
fn each_example_app_is_run_as_processes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let is_app = std::fs::read_to_string(&path).expect("text").contains("natter::app");
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let is_run = EXAMPLES.iter().any(|(example, _)| *example == name);
        assert_eq!(is_app, is_run, "{name}");
    }
}
