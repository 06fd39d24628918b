//! What fuzzers have found worth keeping, held to the same checks: `fuzz/` has them.

#![cfg(all(feature = "workbench", not(loom)))]

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own, too")]
mod checks;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        let input = fs::read(&path).expect("it can be read");
        if std::panic::catch_unwind(|| check(&input)).is_err() {
            panic!("cargo fuzz run {target} {}", path.display());
        }
        replayed += 1;
    }
    assert!(replayed >= 10, "{replayed} inputs in {}", corpus.display());
}

#[test]
fn the_parser_agrees_with_serde_json_on_all_that_was_found() {
    replay("parser", checks::parser::check);
}

#[test]
fn nodes_survive_all_that_was_found() {
    replay("node", checks::node::check);
}

#[test]
fn repairs_end_with_equal_sets_whatever_was_found() {
    replay("repair", checks::repair::check);
}
