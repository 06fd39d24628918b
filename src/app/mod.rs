//! Write a node of your own: handlers for the types of messages, and nothing else.
//!
//! ```
//! use natter::app::App;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Echo {
//!     echo: serde_json::Value,
//! }
//!
//! fn app() -> App<()> {
//!     App::new(()).on("echo", |_, echo: Echo| async { Ok(echo) })
//! }
//! ```
//!
//! A handler gets the node and the request, which serde has read, and gives the fields of the reply, or an [`Error`]. What it
//! awaits (an answer of another node or of a key-value store, a time) lets other messages be handled meanwhile; between two
//! awaits it is alone, so that the state needs no locks of its own.
//!
//! Handlers are `async` because a node that asks others, and asks again what failed, then reads from top to bottom. The executor
//! is of the smallest kind: one thread, no clock, woken by a line or by a time. So the same app runs as a process
//! ([`App::run`], with the runtime of natter-node) and in virtual time, where a test has thousands of runs a minute.
//!
//! `init` and `topology` are answered by the app itself, and so is what nobody handles: an unknown type with error 10, a request
//! that serde can't read with 12, a handler that panics with 13.

mod context;
mod error;
mod executor;
mod kv;
mod rpc;
#[cfg(all(test, feature = "workbench"))]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::context::Context;
use self::context::{Envelope, Head, Shared};
pub use self::error::Error;
use self::executor::{Executor, Task, nothing, task_of};
pub use self::kv::Kv;
pub use self::rpc::Rpc;
use crate::node::{Node, Outbox, Time};
use crate::protocol::Line;
use crate::random::Random;
use crate::runtime::{self, Output, cli};

/// The longest line of input. A longer one is skipped.
const LINE_MAX: usize = 16 << 20;

type Handler<S> = Box<dyn Fn(Context<S>, &str) -> Result<Task, Error> + Send + Sync>;
type Start<S> = Box<dyn Fn(Context<S>) -> Task + Send + Sync>;

/// A node: its state, and what it does with messages.
pub struct App<S> {
    handlers: HashMap<&'static str, Handler<S>>,
    starts: Vec<Start<S>>,
    shared: Arc<Shared<S>>,
    executor: Mutex<Executor>,
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("handlers", &self.handlers.keys()).finish_non_exhaustive()
    }
}

impl<S: Send + 'static> App<S> {
    /// A node with this state that handles nothing yet.
    #[must_use]
    pub fn new(state: S) -> Self {
        Self {
            handlers: HashMap::new(),
            starts: Vec::new(),
            shared: Arc::new(Shared::new(state)),
            executor: Mutex::default(),
        }
    }

    /// Handles messages of that type. The reply has the type with `_ok` after it and the fields of what the handler returns, an
    /// object or `()`. Where the message wants no reply, there is none.
    #[must_use]
    pub fn on<Q, F, R>(
        mut self,
        kind: &'static str,
        handler: impl Fn(Context<S>, Q) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: DeserializeOwned,
        F: Future<Output = Result<R, Error>> + Send + 'static,
        R: Serialize + 'static,
    {
        let handler: Handler<S> = Box::new(move |context, body| {
            let request = serde_json::from_str(body).map_err(|error| Error::malformed(error.to_string()))?;
            let answer = handler(context, request);
            Ok(Box::pin(async move { fields(&answer.await?) }))
        });
        self.handlers.insert(kind, handler);
        self
    }

    /// Does something once, when the node has been initialised.
    #[must_use]
    pub fn on_start<F>(mut self, start: impl Fn(Context<S>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.starts.push(Box::new(move |context| task_of(start(context))));
        self
    }

    /// Does something again and again once the node has been initialised: first after `interval`, then each time so long after it
    /// was done.
    #[must_use]
    pub fn every<F>(self, interval: Duration, act: impl Fn(Context<S>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let act = Arc::new(act);
        self.on_start(move |context| {
            let act = Arc::clone(&act);
            async move {
                loop {
                    context.sleep(interval).await;
                    act(context.clone()).await;
                }
            }
        })
    }

    /// Fixes what the node draws at random.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        self.shared.inner().random = Random::new(seed);
        self
    }

    /// Is a node on stdin and stdout until the input ends. What the program prints meanwhile goes to stderr: stdout is for messages.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let app = self.with_seed(cli::entropy());
        let served = streams().and_then(|(stdin, stdout)| {
            runtime::run(&app, stdin, stdout, Output::InPieces, LINE_MAX).map_err(io::Error::other)
        });
        match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Nobody to tell if stderr is closed too.
                let _ = writeln!(io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        }
    }

    /// What a message of a client, a node or a service makes of the node.
    fn receive(&self, executor: &mut Executor, line: &str) -> Result<(), String> {
        let envelope: Envelope<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let body = envelope.body.get();
        let head: Head<'_> = serde_json::from_str(body).map_err(|error| format!("its body: {error}"))?;
        if let Some(number) = head.in_reply_to {
            self.shared.inner().answered(number, &envelope.src, body);
            return Ok(());
        }
        let context = Context::new(Arc::clone(&self.shared), &envelope.src);
        let reply_to = head.msg_id.map(|number| (envelope.src.into_owned(), number));
        let task = match (&*head.kind, self.handlers.get(&*head.kind)) {
            ("init", _) => self.shared.inner().init(body).map(|()| {
                for start in &self.starts {
                    executor.add("start", None, start(context.clone()));
                }
                nothing()
            }),
            _ if !self.shared.inner().is_initialised() => Err(Error::not_initialised()),
            (_, Some(handler)) => handler(context, body),
            ("topology", None) => self.shared.inner().set_topology(body).map(|()| nothing()),
            // Nobody who is told an error is told of it in turn.
            ("error", None) => return Ok(()),
            (kind, None) => Err(Error::not_supported(format!("this node has no operation {kind:?}"))),
        };
        let task = task.unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))));
        executor.add(&head.kind, reply_to, task);
        Ok(())
    }

    fn executor(&self) -> MutexGuard<'_, Executor> {
        self.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the driver's outbox in hand, and lets all that is ready run.
    fn work(&self, now: Time, out: &mut Outbox, what: impl FnOnce(&mut Executor)) {
        let mut executor = self.executor();
        self.shared.inner().begin(now, std::mem::take(out));
        what(&mut executor);
        loop {
            for task in std::mem::take(&mut self.shared.inner().spawned) {
                executor.add("work of its own", None, task);
            }
            let Some(done) = executor.run_next() else { break };
            self.shared.inner().done(done);
        }
        *out = std::mem::take(&mut self.shared.inner().out);
    }
}

/// The text of a reply's fields, with a comma before them if there are any.
fn fields<R: Serialize>(reply: &R) -> Result<String, Error> {
    let text = serde_json::to_string(reply).map_err(|error| Error::crash(error.to_string()))?;
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some("") => Ok(String::new()),
        Some(fields) => Ok(format!(",{fields}")),
        None if text == "null" => Ok(String::new()),
        None => Err(Error::crash("a handler returns an object, or nothing")),
    }
}

/// The streams of a node. From now on file descriptor 1 is stderr, so that nobody writes to stdout by accident.
fn streams() -> io::Result<(OwnedFd, OwnedFd)> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    Ok((stdin, stdout))
}

impl<S: Send + 'static> Node for App<S> {
    type Scratch = ();

    fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
        self.work(now, out, |executor| {
            let received = std::str::from_utf8(line.bytes()).map_err(|error| error.to_string());
            if let Err(why) = received.and_then(|line| self.receive(executor, line)) {
                self.shared.inner().out.skip(&format_args!("not a message: {why}"));
            }
        });
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        self.work(now, out, |_| self.shared.inner().wake());
    }

    fn next_deadline(&self) -> Option<Time> {
        self.shared.inner().next_alarm()
    }

    fn finish(&self, _: Time, _: &mut Outbox) {}
}
