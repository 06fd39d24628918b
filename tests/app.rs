//! An app as a process: this program itself, started as a node.
//!
//! It has no harness, which would print to stdout.

#[cfg(all(feature = "workbench", not(loom)))]
mod process {
    use std::io::Write;
    use std::process::{Command, ExitCode, Stdio};

    use natter::app::{App, Context};
    use serde_json::{Value as Json, json};

    /// Prints where a node must not, and hands out what it draws at random.
    #[expect(clippy::disallowed_macros, reason = "that is what is tested")]
    fn app() -> App<()> {
        App::new(()).on("generate", |node: Context<()>, _: Json| async move {
            println!("not a message");
            Ok(json!({ "id": node.random() }))
        })
    }

    /// What a node answers to a `generate`, and what it wrote to stderr.
    fn generated() -> (Json, String) {
        let mut node = Command::new(std::env::current_exe().expect("this program"))
            .arg("node")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let init = json!({ "type": "init", "msg_id": 1, "node_id": "n0", "node_ids": ["n0"] });
        let mut stdin = node.stdin.take().expect("piped");
        for body in [init, json!({ "type": "generate", "msg_id": 2 })] {
            writeln!(stdin, "{}", json!({ "src": "c0", "dest": "n0", "body": body })).expect("it reads");
        }
        drop(stdin);
        let output = node.wait_with_output().expect("it ends");
        assert!(output.status.success());
        let lines: Vec<Json> = output
            .stdout
            .split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(lines.len() == 2 && text.lines().count() == 2, "messages and nothing else: {text}");
        assert_eq!(lines[1]["body"]["in_reply_to"], 2);
        (lines[1]["body"]["id"].clone(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(super) fn main() -> ExitCode {
        if std::env::args().nth(1).is_some_and(|arg| arg == "node") {
            return app().run();
        }
        let ((one, said), (other, _)) = (generated(), generated());
        assert!(said.contains("not a message"), "what a handler prints goes to stderr: {said:?}");
        assert_ne!(one, other, "each process draws other numbers");
        ExitCode::SUCCESS
    }
}

#[cfg(all(feature = "workbench", not(loom)))]
fn main() -> std::process::ExitCode {
    process::main()
}

#[cfg(not(all(feature = "workbench", not(loom))))]
fn main() {}
