//! The node's program, through pipes.

#![cfg(not(loom))]

#[path = "common/process.rs"]
mod process;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Command, Stdio};

use process::{DESIGNS, Session, bodies, feed, init, peak_kib, program, replies_to, request, signal, stderr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value as Json, json};

#[test]
fn a_conversation_gets_its_answers_without_waiting_for_more_input() {
    for design in DESIGNS {
        let mut node = Session::start(design, &[]);
        node.send(&init(&["n0"]));
        assert_eq!(node.receive()["body"], json!({ "type": "init_ok", "in_reply_to": 1 }));
        for value in 0..10 {
            node.send(&request("c1", &json!({ "type": "broadcast", "msg_id": 2, "message": value })));
            assert_eq!(node.receive()["body"]["type"], "broadcast_ok");
        }
        node.send(&request("c1", &json!({ "type": "read", "msg_id": 3 })));
        assert_eq!(node.receive()["body"]["messages"].as_array().expect("values").len(), 10);
        let (output, rest) = node.end();
        assert!(output.status.success() && rest.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn gossip_leaves_the_node_by_itself() {
    for design in DESIGNS {
        let soon = [
            "--latency-budget=1",
            "--ack-delay=20",
            "--ack-delay-max=20",
            "--flush-interval=1",
            "--retry-min=20",
        ];
        let mut node = Session::start(design, &soon);
        node.send(&init(&["n0", "n1"]));
        node.receive();
        node.send(&request("c1", &json!({ "type": "topology", "msg_id": 2, "topology": { "n0": ["n1"] } })));
        node.receive();
        node.send(&request("c1", &json!({ "type": "broadcast", "msg_id": 3, "message": 7 })));
        // The ticker may be quicker than the reader: the answer may come before or after the first delta.
        let mut said: Vec<Json> = (0..3).map(|_| node.receive()).collect();
        let answer = said.iter().position(|message| message["body"]["type"] == "broadcast_ok");
        said.remove(answer.expect("an answer"));
        let first = &said[0];
        assert_eq!((&first["dest"], &first["body"]["values"]), (&json!("n1"), &json!([7])));
        let generation = &first["body"]["generation"];
        assert_eq!(&said[1]["body"]["generation"], generation, "sent again until acknowledged");
        let after = generation.as_i64().expect("a number") + 1;
        // Incarnation 5 acknowledges it, and says nothing else.
        let to = &first["body"]["link"][0];
        let link = json!([5, to, 1, -1, 0, after, 0, 0, 0, -1, 0, -1, 0, 0, 0, 0, 0, 0, 0]);
        let ack = json!({ "type": "delta_ok", "generation": generation, "link": link });
        node.send(&request("n1", &ack));
        node.send(&request("c1", &json!({ "type": "echo", "msg_id": 4, "echo": "done" })));
        while node.receive()["body"]["type"] != "echo_ok" {}
        let (_, rest) = node.end();
        // A retry may have been under way when the acknowledgement came; a second one may not.
        assert!(rest.iter().filter(|&&byte| byte == b'\n').count() <= 1, "nothing more once acknowledged");
    }
}

#[test]
fn bad_lines_are_logged_with_cause_and_count_and_skipped() {
    let mut input = init(&["n0"]).into_bytes();
    let bad: [(&[u8], &str); 5] = [
        (b"this is not JSON\n", "not JSON"),
        (b"[1, 2]\n", "not a message"),
        (b"{\"src\":\"c1\",\"dest\":\"n0\"}\n", "not a message"),
        (b"{\"src\":\"c1\",\"dest\":\"n0\",\"body\":{\"type\":\"read\",\n", "not JSON"),
        (b"{\"src\":\"c1\",\"dest\":\"n0\",\"body\":{\"type\":\"\xff\xfe\",\"msg_id\":1}}\n", "not JSON"),
    ];
    for (line, _) in bad {
        input.extend(line);
    }
    input.extend(request("c1", &json!({ "type": "read", "msg_id": 9 })).bytes());
    for design in DESIGNS {
        let output = feed(design, &[], &input);
        assert!(output.status.success());
        assert_eq!(bodies(&output).len(), 2, "init_ok and read_ok");
        let log = stderr(&output);
        for (count, (_, cause)) in bad.iter().enumerate() {
            let line = log.lines().nth(count).unwrap_or_default();
            assert!(
                line.contains(cause) && line.contains(&format!("({} so far)", count + 1)),
                "{design}: {log}"
            );
        }
    }
}

#[test]
fn a_line_over_the_limit_is_skipped_without_being_kept() {
    let mut input = init(&["n0"]).into_bytes();
    input.extend(request("c1", &json!({ "type": "echo", "msg_id": 2, "echo": "x".repeat(2000) })).bytes());
    input.extend(request("c1", &json!({ "type": "echo", "msg_id": 3, "echo": "short" })).bytes());
    for design in DESIGNS {
        let output = feed(design, &["--line-limit", "1000"], &input);
        let bodies = bodies(&output);
        assert!(replies_to(&bodies, 2).is_empty());
        assert_eq!(replies_to(&bodies, 3)[0]["echo"], "short");
        assert!(stderr(&output).contains("limit of 1000 bytes"), "{}", stderr(&output));
    }
}

#[test]
fn the_default_limit_of_a_line_is_16_mib() {
    let echo = |size| request("c1", &json!({ "type": "echo", "msg_id": 2, "echo": "x".repeat(size) }));
    let overhead = echo(0).len() - 1;
    for (extra, answers) in [(0, 1), (1, 0)] {
        let mut input = init(&["n0"]);
        input.push_str(&echo((16 << 20) - overhead + extra));
        let output = feed("lock-free", &[], input.as_bytes());
        assert_eq!(replies_to(&bodies(&output), 2).len(), answers);
    }
}

#[test]
fn bad_requests_are_answered_and_leave_nothing_behind() {
    for design in DESIGNS {
        let mut input = request("c1", &json!({ "type": "read", "msg_id": 100 }));
        input += &init(&["n0", "n1"]);
        let cases = [
            (json!({ "type": "unheard-of" }), 10, "unheard-of"),
            (json!({ "type": "broadcast" }), 12, "message"),
            (json!({ "type": "broadcast", "message": "one" }), 12, "message"),
            (json!({ "type": "broadcast", "message": 1.5 }), 12, "message"),
            (json!({ "type": "broadcast", "message": u64::MAX }), 12, "message"),
            (json!({ "type": "echo" }), 12, "echo"),
            (json!({ "type": "init", "node_id": "n0", "node_ids": ["n0"] }), 12, "init"),
        ];
        for (msg_id, (body, ..)) in (2..).zip(&cases) {
            let mut body = body.clone();
            body["msg_id"] = json!(msg_id);
            input += &request("c1", &body);
        }
        input += &request("c1", &json!({ "type": "read", "msg_id": 99 }));
        let output = feed(design, &[], input.as_bytes());
        let bodies = bodies(&output);
        assert_eq!(replies_to(&bodies, 100)[0]["code"], 11, "before init");
        for (msg_id, (body, code, named)) in (2..).zip(&cases) {
            let replies = replies_to(&bodies, msg_id);
            assert_eq!((replies.len(), &replies[0]["code"]), (1, &json!(code)), "{design}: {body}");
            assert!(replies[0]["text"].as_str().expect("a text").contains(named), "{design}: {}", replies[0]);
        }
        assert_eq!(replies_to(&bodies, 99)[0]["messages"], json!([]));
    }
}

#[test]
fn a_repeated_broadcast_is_acknowledged_and_spread_once() {
    for design in DESIGNS {
        let mut input = init(&["n0", "n1"]);
        input += &request("c1", &json!({ "type": "topology", "msg_id": 2, "topology": { "n0": ["n1"] } }));
        for msg_id in [3, 4, 5] {
            input += &request("c1", &json!({ "type": "broadcast", "msg_id": msg_id, "message": 7 }));
        }
        let bodies = bodies(&feed(design, &[], input.as_bytes()));
        assert_eq!((3..6).map(|id| replies_to(&bodies, id).len()).sum::<usize>(), 3);
        let spread: Vec<&Json> = bodies.iter().filter(|body| body["type"] == "delta").collect();
        // What is in flight when the input ends is sent once more.
        assert!((1..=2).contains(&spread.len()), "{design}: {spread:?}");
        assert!(spread.iter().all(|body| body["values"] == json!([7])), "{design}: {spread:?}");
    }
}

#[test]
fn a_delta_from_a_stranger_is_applied_and_acknowledged() {
    for design in DESIGNS {
        let mut input = init(&["n0", "n1"]);
        input += &request("stranger", &json!({ "type": "delta", "generation": 4, "values": [1, 2] }));
        input += &request("c1", &json!({ "type": "read", "msg_id": 3 }));
        let bodies = bodies(&feed(design, &[], input.as_bytes()));
        assert!(bodies.contains(&json!({ "type": "delta_ok", "generation": 4 })), "{design}");
        let mut values: Vec<i64> =
            serde_json::from_value(replies_to(&bodies, 3)[0]["messages"].clone()).expect("values");
        values.sort_unstable();
        assert_eq!(values, [1, 2]);
    }
}

#[test]
fn at_the_end_of_input_everything_queued_is_written() {
    const REQUESTS: usize = 20_000;
    for design in DESIGNS {
        let mut input = init(&["n0", "n1"]);
        for value in 0..REQUESTS {
            input += &request("c1", &json!({ "type": "broadcast", "msg_id": value + 2, "message": value }));
        }
        // The last line has no newline, and is a line all the same.
        input.pop();
        let output = feed(design, &[], input.as_bytes());
        assert_eq!(output.status.code(), Some(0));
        let bodies = bodies(&output);
        assert_eq!(bodies.iter().filter(|body| body["type"] == "broadcast_ok").count(), REQUESTS);
        let mut spread: Vec<i64> = bodies
            .iter()
            .filter(|body| body["type"] == "delta")
            .flat_map(|body| serde_json::from_value::<Vec<i64>>(body["values"].clone()).expect("values"))
            .collect();
        spread.sort_unstable();
        spread.dedup();
        assert_eq!(spread.len(), REQUESTS, "{design}: what waited for n1 left with the node");
    }
}

#[test]
fn a_last_line_that_is_cut_off_is_skipped() {
    for design in DESIGNS {
        let output = feed(design, &[], (init(&["n0"]) + "{\"src\":\"c1\",\"dest\":").as_bytes());
        assert_eq!((output.status.code(), bodies(&output).len()), (Some(0), 1));
        assert!(stderr(&output).contains("not JSON"), "{}", stderr(&output));
    }
}

#[test]
fn a_closed_stdout_ends_the_node_with_one_line_and_no_panic() {
    for design in DESIGNS {
        let mut child = program(design, &[]).spawn().expect("natter-node starts");
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().expect("piped");
        // Its stdin stays open: it ends by itself. One request is not enough: a process that another test is about to start may hold
        // the other end of its stdout for a moment, so that its first answers go nowhere without an error.
        let echo = request("c1", &json!({ "type": "echo", "msg_id": 2, "echo": 7 }));
        let mut next = init(&["n0"]);
        while stdin.write_all(next.as_bytes()).is_ok() {
            next.clone_from(&echo);
        }
        let output = child.wait_with_output().expect("it ends");
        drop(stdin);
        assert_eq!(output.status.code(), Some(1), "{design}");
        let log = stderr(&output);
        assert!(log.lines().count() == 1 && log.contains("cannot write to stdout"), "{design}: {log}");
    }
}

#[test]
fn a_reader_that_is_slow_to_come_gets_everything() {
    // More than all pipes and buffers hold: the node must wait, and lose nothing.
    const REQUESTS: usize = 2000;
    let filler = &"x".repeat(5000);
    for design in DESIGNS {
        let mut child = program(design, &[]).spawn().expect("natter-node starts");
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let count = std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut written = 0;
                stdin.write_all(init(&["n0"]).as_bytes()).expect("it listens");
                for msg_id in 2..REQUESTS + 2 {
                    let echo = json!({ "type": "echo", "msg_id": msg_id, "echo": filler });
                    stdin.write_all(request("c1", &echo).as_bytes()).expect("it listens");
                    written += 1;
                }
                written
            });
            // The first reply is there, so the node runs.
            let mut line = String::new();
            stdout.read_line(&mut line).expect("readable");
            let count = stdout.lines().map_while(Result::ok).count();
            assert_eq!(writer.join().expect("no panic"), REQUESTS);
            count
        });
        assert_eq!(count, REQUESTS, "{design}");
        assert!(child.wait().expect("it ends").success());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_node_that_is_not_read_waits_in_bounded_memory_and_loses_nothing() {
    // A node that is asked to read has much more to say than it hears.
    const VALUES: usize = 10_000;
    for design in DESIGNS {
        let mut child = program(design, &[]).spawn().expect("natter-node starts");
        let mut stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let values = Vec::from_iter(0..VALUES);
        stdin.write_all(init(&["n0"]).as_bytes()).expect("it listens");
        let delta = json!({ "type": "delta", "generation": 1, "values": values });
        stdin.write_all(request("n1", &delta).as_bytes()).expect("it listens");
        rustix::io::ioctl_fionbio(&stdin, true).expect("a pipe");
        let read = request("c1", &json!({ "type": "read", "msg_id": 2 }));
        let (mut reads, mut written) = (0, 0);
        let stuck = Timespec { tv_sec: 1, tv_nsec: 0 };
        while poll(&mut [PollFd::new(&stdin, PollFlags::OUT)], Some(&stuck)).expect("a pipe") > 0 {
            match stdin.write(&read.as_bytes()[written..]) {
                Ok(count) => written += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            reads += written / read.len();
            written %= read.len();
        }
        let peak = peak_kib(&child);
        assert!(peak < 16 << 10, "{design}: {peak} KiB, with {reads} reads waiting");
        rustix::io::ioctl_fionbio(&stdin, false).expect("a pipe");
        let rest = read.as_bytes()[written..].to_owned();
        let answers = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(&rest).expect("it listens again"));
            stdout.lines().map_while(Result::ok).filter(|line| line.contains("read_ok")).count()
        });
        assert_eq!(answers, reads + 1, "{design}");
        assert!(child.wait().expect("it ends").success());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_node_takes_less_than_8_mib() {
    let mut node = Session::start("lock-free", &[]);
    node.send(&init(&["n0"]));
    assert_eq!(node.receive()["body"]["type"], "init_ok");
    let peak = peak_kib(&node.child);
    assert!(peak < 8 << 10, "{peak} KiB");
    node.end();
}

#[test]
fn signals_are_answered_with_the_last_words_and_status_0() {
    for (design, name) in
        DESIGNS.into_iter().flat_map(|design| ["TERM", "INT", "HUP"].map(|name| (design, name)))
    {
        // Where the tests are to outlive their terminal, so are the nodes.
        if name == "HUP" && process::is_hangup_ignored() {
            continue;
        }
        let mut node = Session::start(design, &["--flush-interval=3600000", "--latency-budget=3600000"]);
        node.send(&init(&["n0", "n1"]));
        node.receive();
        node.send(&request("c1", &json!({ "type": "topology", "msg_id": 2, "topology": { "n0": ["n1"] } })));
        node.receive();
        for (msg_id, value) in [(3, 7), (4, 8)] {
            node.send(&request("c1", &json!({ "type": "broadcast", "msg_id": msg_id, "message": value })));
            // What comes as the node begins, it may tell at once; it is not acknowledged, so it is among the last words, too.
            let mut kinds = std::iter::from_fn(|| Some(node.receive()["body"]["type"].clone()));
            assert_eq!(kinds.find(|kind| kind != "delta"), Some(json!("broadcast_ok")));
        }
        signal(&node.child, name);
        let mut rest = String::new();
        node.stdout.read_to_string(&mut rest).expect("readable");
        assert_eq!(node.child.wait().expect("it ends").code(), Some(0), "{design}");
        let mut last: Vec<i64> = rest
            .lines()
            .map(|line| serde_json::from_str::<Json>(line).expect("a message"))
            .flat_map(|message| message["body"]["values"].as_array().cloned().unwrap_or_default())
            .map(|value| value.as_i64().expect("an integer"))
            .collect();
        last.sort_unstable();
        last.dedup();
        assert_eq!(last, [7, 8], "{design}: {rest}");
    }
}

#[test]
fn a_node_that_nobody_listens_to_ends_on_sigterm_all_the_same() {
    for design in DESIGNS {
        let mut node = Session::start(design, &[]);
        node.send(&init(&["n0"]));
        node.receive();
        // The answer is longer than the pipe holds: once that is full, the node can't write the rest.
        let stdout = node.stdout.get_ref();
        let held = rustix::pipe::fcntl_setpipe_size(stdout, 4096).expect("a smaller pipe");
        node.send(&request("c1", &json!({ "type": "echo", "msg_id": 2, "echo": "x".repeat(2 * held) })));
        let stdout = node.stdout.get_ref();
        while rustix::io::ioctl_fionread(stdout).expect("a pipe") < held as u64 {
            std::thread::yield_now();
        }
        signal(&node.child, "TERM");
        assert_eq!(node.child.wait().expect("it ends").code(), Some(143), "{design}");
    }
}

#[test]
fn a_node_whose_stdout_takes_nothing_says_so_and_fails() {
    for design in DESIGNS {
        for (stdout, why) in [(">&-", "closed when the node was started"), (">/dev/full", "No space left")] {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec \"$@\" {stdout}"), "sh", env!("CARGO_BIN_EXE_natter-node")]);
            let mut node = shell
                .args(["--design", design])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("a shell");
            // It may be gone already.
            let _ = node.stdin.take().expect("a pipe").write_all(init(&["n0"]).as_bytes());
            let output = node.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(1), "{design} {stdout}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("cannot write to stdout") && said.contains(why),
                "{design} {stdout}: {said}"
            );
        }
    }
}

#[test]
fn a_node_that_is_told_to_throw_its_output_away_does() {
    for design in DESIGNS {
        // A shell opens it for writing, Python for reading and writing.
        for reads in [false, true] {
            let null =
                std::fs::OpenOptions::new().read(reads).write(true).open("/dev/null").expect("it is there");
            let mut node = Command::new(env!("CARGO_BIN_EXE_natter-node"))
                .args(["--design", design])
                .stdin(Stdio::piped())
                .stdout(null)
                .spawn()
                .expect("it starts");
            node.stdin.take().expect("a pipe").write_all(init(&["n0"]).as_bytes()).expect("it reads");
            assert_eq!(node.wait().expect("it ends").code(), Some(0), "{design} {reads}");
        }
    }
}

#[test]
fn a_node_that_is_to_outlive_its_terminal_does() {
    for design in DESIGNS {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "trap '' HUP; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_natter-node"),
            "--design",
            design,
        ]);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut node = Session::of(shell);
        node.send(&init(&["n0"]));
        node.receive();
        signal(&node.child, "HUP");
        node.send(&request("c1", &json!({ "type": "echo", "msg_id": 2, "echo": "still here" })));
        assert_eq!(node.receive()["body"]["echo"], "still here", "{design}");
        assert_eq!(node.end().0.status.code(), Some(0), "{design}");
    }
}

#[test]
fn two_signals_at_once_are_one_wish() {
    for design in DESIGNS {
        let mut node = Session::start(design, &[]);
        node.send(&init(&["n0"]));
        node.receive();
        let pid = node.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid, &pid]).status();
        assert!(status.expect("kill runs").success());
        assert_eq!(node.child.wait().expect("it ends").code(), Some(0), "{design}");
    }
}

#[test]
fn ids_stay_unique_across_restarts() {
    let mut input = init(&["n0"]);
    for msg_id in 2..102 {
        input += &request("c1", &json!({ "type": "generate", "msg_id": msg_id }));
    }
    let ids: std::collections::BTreeSet<String> = DESIGNS
        .iter()
        .flat_map(|design| [design, design])
        .flat_map(|design| bodies(&feed(design, &[], input.as_bytes())))
        .filter_map(|body| body["id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), 400);
}

#[test]
fn bad_arguments_are_explained() {
    for (args, named) in [
        (&["--batch-max=65"][..], "64"),
        (&["--batch-max=0"], "1"),
        (&["--retry-min=300", "--retry-max=200"], "--retry-max"),
        (&["--retry-min=0"], "--retry-min"),
        (&["--ack-delay=30", "--ack-delay-max=20"], "--ack-delay-max"),
        (&["--latency-budget=soon"], "soon"),
    ] {
        let output = feed("lock-free", args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(named), "{args:?}: {}", stderr(&output));
    }
}
