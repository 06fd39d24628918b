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

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use serde_json::value::RawValue;

pub use self::context::Context;
use self::context::{Envelope, Head, Shared};
pub use self::error::Error;
pub(crate) use self::executor::caught_now;
use self::executor::{Executor, Origin, Task, Turn, caught, nothing, task_of};
pub use self::kv::Kv;
pub use self::rpc::Rpc;
use crate::node::{Node, Outbox, Time};
use crate::protocol::Line;
use crate::random::Random;
use crate::runtime::{self, Output, cli};

/// The longest line of input. A longer one is skipped.
const LINE_MAX: usize = 16 << 20;

/// So many turns tasks have before the driver has its own: it may have a line, or an end, for the node.
const TURNS_AT_ONCE_MAX: usize = 100;

type Handler<S> = Box<dyn Fn(Context<S>, &str) -> Result<Task, Error> + Send + Sync>;
type Start<S> = Box<dyn Fn(Context<S>) -> Task + Send + Sync>;

/// A node: its state, and what it does with messages.
pub struct App<S> {
    handlers: HashMap<&'static str, Handler<S>>,
    starts: Vec<(String, Start<S>)>,
    shared: Arc<Shared<S>>,
    executor: Mutex<Executor>,
    is_seeded: bool,
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
            is_seeded: false,
        }
    }

    /// Handles messages of that type. The reply has the type with `_ok` after it and the fields of what the handler returns, an
    /// object or `()`. Where the message wants no reply, there is none. What of the message the handler doesn't want it need not name;
    /// one that wants nothing of it takes a `serde_json::Value`.
    ///
    /// # Panics
    /// If it is `init`, which the app answers itself: [`on_start`](Self::on_start) does something then.
    #[must_use]
    pub fn on<Q, F, R>(
        mut self,
        kind: &'static str,
        handler: impl Fn(Context<S>, Q) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        F: Future<Output = Result<R, Error>> + Send + 'static,
        R: Serialize + 'static,
    {
        assert!(kind != "init", "`init` is answered by the app: use `on_start`");
        let handler = Arc::new(handler);
        let handler: Handler<S> = Box::new(move |context, body| {
            let read = caught_now(|| serde_json::from_str(body)).map_err(|said| {
                context.shared.inner().out.panicked(format_args!("reading a request {kind:?}: {said}"));
                Error::crash("reading the request panicked")
            })?;
            let request = read.map_err(|error| Error::malformed(error.to_string()))?;
            let handler = Arc::clone(&handler);
            Ok(Box::pin(async move { fields(&handler(context, request).await?) }))
        });
        self.handlers.insert(kind, handler);
        self
    }

    /// Does something once, when the node has been initialised.
    #[must_use]
    pub fn on_start<F>(self, start: impl Fn(Context<S>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.starting("on_start".to_owned(), start)
    }

    fn starting<F>(mut self, name: String, start: impl Fn(Context<S>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let start = Arc::new(start);
        let start: Start<S> = Box::new(move |context| {
            let start = Arc::clone(&start);
            task_of(async move { start(context).await })
        });
        self.starts.push((name, start));
        self
    }

    /// Does something again and again once the node has been initialised: first after `interval`, then each time so long after it
    /// was done, or has panicked.
    #[must_use]
    pub fn every<F>(self, interval: Duration, act: impl Fn(Context<S>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (act, name) = (Arc::new(act), format!("every {interval:?}"));
        self.starting(name.clone(), move |context| {
            let (act, name) = (Arc::clone(&act), name.clone());
            async move {
                loop {
                    context.sleep(interval).await;
                    let (act, same) = (Arc::clone(&act), context.clone());
                    if let Err(said) = caught(async move { act(same).await }).await {
                        context.shared.inner().out.panicked(format_args!("{name}: {said}"));
                    }
                }
            }
        })
    }

    /// Fixes what the node draws at random. Without it, the operating system gives a process a seed; in a scripted test the node's name
    /// is one.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.shared.inner().random = Random::new(seed);
        self.is_seeded = true;
        self
    }

    /// Is a node on stdin and stdout until the input ends. What the program prints meanwhile goes to stderr: stdout is for messages.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let app = if self.is_seeded { self } else { self.with_seed(cli::entropy()) };
        app.shared.inner().life = cli::entropy();
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
        let task = match (&*head.kind, self.handlers.get(&*head.kind)) {
            ("init", _) => self.init(executor, &envelope.src, body),
            _ if !self.shared.inner().is_initialised() => Err(Error::not_initialised()),
            (_, Some(handler)) => handler(self.shared.context(&envelope.src), body),
            ("topology", None) => self.shared.inner().set_topology(body).map(|()| nothing()),
            // Nobody who is told an error is told of it in turn.
            ("error", None) => return Ok(()),
            (kind, None) => Err(Error::not_supported(format!("this node has no operation {kind:?}"))),
        };
        let task = task.unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))));
        let reply_to = head.msg_id.map(|number| (envelope.src.into_owned(), number));
        executor.add(Origin::Message { kind: head.kind.into_owned(), reply_to }, task);
        Ok(())
    }

    fn init(&self, executor: &mut Executor, src: &str, body: &str) -> Result<Task, Error> {
        self.shared.inner().init(body, self.is_seeded)?;
        for (name, start) in &self.starts {
            executor.add(Origin::Work(name.clone()), start(self.shared.context(src)));
        }
        Ok(nothing())
    }

    fn executor(&self) -> MutexGuard<'_, Executor> {
        self.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the driver's outbox in hand, and lets what is ready run: all of it, unless tasks bring forth tasks without
    /// end.
    fn work(&self, now: Time, out: &mut Outbox, what: impl FnOnce(&mut Executor)) {
        let mut executor = self.executor();
        self.shared.inner().begin(now, std::mem::take(out));
        what(&mut executor);
        for _ in 0..TURNS_AT_ONCE_MAX {
            for task in std::mem::take(&mut self.shared.inner().spawned) {
                executor.add(Origin::Work("spawned work".to_owned()), task);
            }
            match executor.run_next() {
                Turn::Nobodys => break,
                Turn::Goes => {}
                Turn::Ended(done) => self.shared.inner().done(done),
            }
        }
        let mut inner = self.shared.inner();
        if executor.is_ready() || !inner.spawned.is_empty() {
            inner.wake_again();
        }
        *out = std::mem::take(&mut inner.out);
    }
}

/// Fields that are the app's own.
const OWN: [&str; 3] = ["type", "msg_id", "in_reply_to"];

/// The text of a reply's fields, with a comma before them if there are any. Those that are the app's own, as in the answer of
/// another node that is handed on, are left out.
fn fields<R: Serialize>(reply: &R) -> Result<String, Error> {
    let crash = |error: serde_json::Error| Error::crash(error.to_string());
    let mut text = serde_json::to_string(reply).map_err(crash)?;
    if text.contains('\n') {
        // Between its parts: a message is one line.
        text = serde_json::from_str::<Json>(&text).map_err(crash)?.to_string();
    }
    if OWN.iter().any(|own| text.contains(own))
        && let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text)
    {
        let given = fields.len();
        fields.retain(|name, _| !OWN.contains(&name.as_str()));
        if fields.len() < given {
            text = serde_json::to_string(&fields).map_err(crash)?;
        }
    }
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
