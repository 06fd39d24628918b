//! natter-node as a process, talked to through pipes.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::{Value as Json, json};

pub(crate) const DESIGNS: [&str; 2] = ["lock-free", "simple"];

pub(crate) fn program(design: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter-node"));
    command.args(["--design", design]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Feeds a node its whole input and returns what came of it.
pub(crate) fn feed(design: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = program(design, args).spawn().expect("natter-node starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        // Beside the reading of its output, or both would wait.
        scope.spawn(move || {
            // A node that ends early closes its end.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("it ends")
    })
}

pub(crate) fn request(src: &str, body: &Json) -> String {
    format!("{}\n", json!({ "src": src, "dest": "n0", "body": body }))
}

pub(crate) fn init(nodes: &[&str]) -> String {
    request("c0", &json!({ "type": "init", "msg_id": 1, "node_id": "n0", "node_ids": nodes }))
}

fn messages(stdout: &[u8]) -> Vec<Json> {
    let text = std::str::from_utf8(stdout).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

pub(crate) fn bodies(output: &Output) -> Vec<Json> {
    messages(&output.stdout).iter().map(|message| message["body"].clone()).collect()
}

pub(crate) fn replies_to(bodies: &[Json], msg_id: i64) -> Vec<&Json> {
    bodies.iter().filter(|body| body["in_reply_to"] == msg_id).collect()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A node that is talked to step by step.
pub(crate) struct Session {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: BufReader<ChildStdout>,
}

impl Session {
    pub(crate) fn start(design: &str, args: &[&str]) -> Self {
        Self::of(program(design, args))
    }

    pub(crate) fn of(mut program: Command) -> Self {
        let mut child = program.spawn().expect("natter-node starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdin, stdout }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stdin.as_mut().expect("open").write_all(text.as_bytes()).expect("it listens");
    }

    pub(crate) fn receive(&mut self) -> Json {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("readable");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// What it says until it ends.
    pub(crate) fn rest(&mut self) -> Vec<Json> {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("readable");
        messages(&rest)
    }

    pub(crate) fn end(mut self) -> (Output, Vec<u8>) {
        drop(self.stdin.take());
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("readable");
        (self.child.wait_with_output().expect("it ends"), rest)
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs").success());
}

/// Whether this process ignores SIGHUP, as under nohup: then those that it starts do.
pub(crate) fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| mask.trim().ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']))
}

/// The most memory that a process has had resident.
pub(crate) fn peak_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}
