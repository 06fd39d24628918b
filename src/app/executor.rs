//! The executor: tasks that wait until somebody wakes them, run one after the other by whoever has the node in hand.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::Error;

/// Ends with the text of a reply's further fields.
pub(super) type Task = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// A task whose reply has no fields of its own.
pub(super) fn task_of(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Box::pin(async move {
        work.await;
        Ok(String::new())
    })
}

/// One that has nothing to do.
pub(super) fn nothing() -> Task {
    task_of(std::future::ready(()))
}

/// Tasks that have not ended.
#[derive(Default)]
pub(super) struct Executor {
    tasks: HashMap<u64, Running>,
    next: u64,
    ready: Arc<Ready>,
}

/// Tasks that somebody has woken, first come, first served.
#[derive(Default)]
struct Ready(Mutex<VecDeque<u64>>);

struct Running {
    task: Task,
    waker: Waker,
    origin: Origin,
}

/// What a task is for.
pub(super) enum Origin {
    /// A message of that type. Perhaps somebody waits for the reply: who, and the `msg_id` of the request.
    Message { kind: String, reply_to: Option<(String, i64)> },
    /// Something that the node does of its own accord.
    Work(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Message { kind, .. } => write!(f, "the handler of {kind:?}"),
            Origin::Work(what) => f.write_str(what),
        }
    }
}

/// What became of a turn.
pub(super) enum Turn {
    /// No task was ready.
    Nobodys,
    /// The task goes on when it is woken.
    Goes,
    /// The task has ended.
    Ended(Done),
}

/// A task that has ended.
pub(super) struct Done {
    pub(super) origin: Origin,
    pub(super) result: Result<String, Error>,
    /// What a panic said.
    pub(super) panicked: Option<String>,
}

struct TaskWaker {
    id: u64,
    ready: Arc<Ready>,
}

impl Ready {
    fn push(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(id);
    }

    fn take(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.id);
    }
}

impl Executor {
    /// A task that runs as soon as it may.
    pub(super) fn add(&mut self, origin: Origin, task: Task) {
        let id = self.next;
        self.next += 1;
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
        self.tasks.insert(id, Running { task, waker, origin });
        self.ready.push(id);
    }

    /// Whether a task has been woken and has not run since.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Gives the task that was woken first its turn.
    pub(super) fn run_next(&mut self) -> Turn {
        let Some(id) = self.ready.take() else { return Turn::Nobodys };
        // One that was woken twice may have ended.
        let Some(running) = self.tasks.get_mut(&id) else { return Turn::Goes };
        let Running { task, waker, .. } = running;
        let mut context = Context::from_waker(waker);
        let (result, panicked) = match poll_caught(task.as_mut(), &mut context) {
            Poll::Pending => return Turn::Goes,
            Poll::Ready(Ok(result)) => (result, None),
            Poll::Ready(Err(said)) => (Err(Error::crash("the node's handler panicked")), Some(said)),
        };
        match self.tasks.remove(&id) {
            Some(Running { origin, .. }) => Turn::Ended(Done { origin, result, panicked }),
            None => Turn::Goes,
        }
    }
}

/// Polls a future, whose panic ends it: then what the panic said is its result.
fn poll_caught<F: Future + ?Sized>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<Result<F::Output, String>> {
    match caught_now(|| future.poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(said) => Poll::Ready(Err(said)),
    }
}

/// Does something, whose panic is a result.
pub(crate) fn caught_now<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| said(&*panic))
}

/// The same future, whose panics are results.
pub(super) async fn caught<F: Future + Send>(future: F) -> Result<F::Output, String> {
    let mut future = Box::pin(future);
    poll_fn(|context| poll_caught(future.as_mut(), context)).await
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
