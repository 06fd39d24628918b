//! What handlers have in hand: the node's name and members, its state, messages, times.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Poll, Waker};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::executor::{Done, Origin, Task, task_of};
use super::{Error, Kv, Rpc};
use crate::node::{Outbox, Time};
use crate::protocol::ErrorCode;
use crate::random::{Random, scatter};

/// A message, as far as every message is alike.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) src: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) body: &'a RawValue,
}

/// A body, as far as every body is alike.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    pub(super) msg_id: Option<i64>,
    pub(super) in_reply_to: Option<i64>,
}

/// What all tasks of a node share.
pub(super) struct Shared<S> {
    state: Mutex<S>,
    inner: Mutex<Inner>,
}

impl<S> Shared<S> {
    pub(super) fn new(state: S) -> Self {
        Self { state: Mutex::new(state), inner: Mutex::default() }
    }

    /// The node, as whoever handles a message of `src` has it in hand.
    pub(super) fn context(self: &Arc<Self>, src: &str) -> Context<S> {
        let identity = Arc::clone(&self.inner().identity);
        Context { shared: Arc::clone(self), identity, src: src.into() }
    }

    /// In hand for the length of a statement only.
    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that is no state of the author's.
#[derive(Default)]
pub(super) struct Inner {
    identity: Arc<Identity>,
    is_initialised: bool,
    neighbours: Arc<[String]>,
    pub(super) now: Time,
    pub(super) random: Random,
    /// Differs from life to life of a process, whatever its seed.
    pub(super) life: u64,
    last_number: i64,
    /// The driver's, while the node is in its hands.
    pub(super) out: Outbox,
    /// Requests that wait for their answers, by `msg_id`.
    calls: HashMap<i64, Call>,
    /// Who is to be woken when.
    alarms: BTreeMap<(Time, u64), Waker>,
    last_alarm: u64,
    pub(super) spawned: Vec<Task>,
}

/// What `init` says.
#[derive(Debug, Default)]
struct Identity {
    id: String,
    members: Vec<String>,
}

/// A request that waits for its answer.
struct Call {
    dest: String,
    waker: Waker,
    answer: Option<Result<Json, Error>>,
}

#[derive(Deserialize)]
struct Init {
    node_id: String,
    node_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Topology {
    /// Some encoders write an empty list as null.
    topology: HashMap<String, Option<Vec<String>>>,
}

impl Inner {
    pub(super) fn is_initialised(&self) -> bool {
        self.is_initialised
    }

    pub(super) fn init(&mut self, body: &str, is_seeded: bool) -> Result<(), Error> {
        let Init { node_id, node_ids } = parsed(body)?;
        if self.is_initialised() {
            return Err(Error::malformed("already initialised: `init` comes once"));
        }
        if !node_ids.contains(&node_id) {
            return Err(Error::malformed("field `node_ids` must contain `node_id`"));
        }
        self.neighbours = node_ids.iter().filter(|&node| *node != node_id).cloned().collect();
        if !is_seeded {
            self.random = Random::new(node_id.bytes().fold(0, |seed, byte| scatter(seed ^ u64::from(byte))));
        }
        self.identity = Arc::new(Identity { id: node_id, members: node_ids });
        self.is_initialised = true;
        // An answer to a request of a former life must not be taken for one of this life's.
        self.last_number = (self.random.name() ^ self.life >> 12).cast_signed();
        Ok(())
    }

    pub(super) fn set_topology(&mut self, body: &str) -> Result<(), Error> {
        let Topology { mut topology } = parsed(body)?;
        if let Some(neighbours) = topology.remove(&self.identity.id) {
            self.neighbours = neighbours.unwrap_or_default().into();
        }
        Ok(())
    }

    /// An answer has come.
    pub(super) fn answered(&mut self, number: i64, src: &str, body: &str) {
        let Some(call) = self.calls.get_mut(&number).filter(|call| call.dest == src) else { return };
        let answer = serde_json::from_str::<Json>(body).map_err(|error| Error::malformed(error.to_string()));
        call.answer.get_or_insert_with(|| match answer {
            // Of one without a code nobody knows what it means.
            Ok(body) if body["type"] == "error" => Err(Error {
                code: body["code"].as_i64().unwrap_or(ErrorCode::Crash.number().into()),
                text: body["text"].as_str().unwrap_or_default().to_owned(),
            }),
            answer => answer,
        });
        call.waker.wake_by_ref();
    }

    /// A driver has the node in its hands, and lends it its outbox.
    pub(super) fn begin(&mut self, now: Time, out: Outbox) {
        (self.now, self.out) = (now, out);
    }

    /// Wakes whoever waits for a time that has come.
    pub(super) fn wake(&mut self) {
        while let Some(alarm) = self.alarms.first_entry().filter(|alarm| alarm.key().0 <= self.now) {
            alarm.remove().wake();
        }
    }

    /// Wants to be woken at once.
    pub(super) fn wake_again(&mut self) {
        self.set_alarm(self.now, Waker::noop().clone());
    }

    pub(super) fn next_alarm(&self) -> Option<Time> {
        self.alarms.first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes somebody then; the name of the alarm.
    pub(super) fn set_alarm(&mut self, at: Time, waker: Waker) -> (Time, u64) {
        self.last_alarm += 1;
        let alarm = (at, self.last_alarm);
        self.alarms.insert(alarm, waker);
        alarm
    }

    pub(super) fn unset_alarm(&mut self, alarm: (Time, u64)) {
        self.alarms.remove(&alarm);
    }

    /// A new number for a request, which waits for its answer from now on.
    pub(super) fn call(&mut self, dest: &str) -> i64 {
        self.last_number += 1;
        let call = Call { dest: dest.to_owned(), waker: Waker::noop().clone(), answer: None };
        self.calls.insert(self.last_number, call);
        self.last_number
    }

    /// The answer, if it has come; otherwise somebody will be woken.
    pub(super) fn answer(&mut self, number: i64, waker: &Waker) -> Option<Result<Json, Error>> {
        let call = self.calls.get_mut(&number)?;
        if let Some(answer) = call.answer.take() {
            self.calls.remove(&number);
            return Some(answer);
        }
        call.waker.clone_from(waker);
        None
    }

    #[cfg(all(test, feature = "workbench"))]
    pub(super) fn waits_for_nothing(&self) -> bool {
        self.calls.is_empty() && self.alarms.is_empty()
    }

    pub(super) fn forget_call(&mut self, number: i64) {
        self.calls.remove(&number);
    }

    /// Sends a body, of which the text of the fields is given.
    pub(super) fn send(&mut self, dest: &str, fields: fmt::Arguments<'_>) {
        // Memory takes all that is written to it.
        self.out.send(&self.identity.id, dest, |body| drop(write!(body, "{{{fields}}}")));
    }

    /// A task has ended: its reply.
    pub(super) fn done(&mut self, done: Done) {
        let Done { origin, result, panicked } = done;
        if let Some(said) = &panicked {
            self.out.panicked(format_args!("{origin}: {said}"));
        }
        let Origin::Message { kind, reply_to: Some((dest, number)) } = origin else {
            if let (Err(error), None) = (result, panicked) {
                self.out.note(format_args!("{origin} failed, and nobody waits for the answer: {error}"));
            }
            return;
        };
        match result {
            Ok(fields) => {
                let kind = Json::from(format!("{kind}_ok"));
                self.send(&dest, format_args!("\"type\":{kind},\"in_reply_to\":{number}{fields}"));
            }
            Err(Error { code, text }) => {
                let text = Json::from(text);
                self.send(
                    &dest,
                    format_args!(
                        "\"type\":\"error\",\"in_reply_to\":{number},\"code\":{code},\"text\":{text}"
                    ),
                );
            }
        }
    }
}

fn parsed<T: DeserializeOwned>(body: &str) -> Result<T, Error> {
    serde_json::from_str(body).map_err(|error| Error::malformed(error.to_string()))
}

/// The node, as a handler has it in hand. Copies are cheap, and are the same node.
pub struct Context<S> {
    pub(super) shared: Arc<Shared<S>>,
    identity: Arc<Identity>,
    src: Arc<str>,
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        let Self { shared, identity, src } = self;
        Self { shared: Arc::clone(shared), identity: Arc::clone(identity), src: Arc::clone(src) }
    }
}

impl<S> fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("src", &self.src).finish_non_exhaustive()
    }
}

impl<S: Send + 'static> Context<S> {
    /// This node's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.identity.id
    }

    /// The names of all nodes, this one among them.
    #[must_use]
    pub fn members(&self) -> &[String] {
        &self.identity.members
    }

    /// The names of all nodes but this one.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.members().iter().map(String::as_str).filter(|&member| member != self.id())
    }

    /// The nodes that this one is to talk to: as the last `topology` said, or all others before there was any.
    #[must_use]
    pub fn neighbours(&self) -> Arc<[String]> {
        Arc::clone(&self.shared.inner().neighbours)
    }

    /// Who sent the message that is handled; for work that began without one, who initialised the node.
    #[must_use]
    pub fn src(&self) -> &str {
        &self.src
    }

    /// Looks at the state, and changes it. No other handler runs meanwhile.
    ///
    /// # Panics
    /// If it is called from within itself.
    pub fn state<T>(&self, look: impl FnOnce(&mut S) -> T) -> T {
        match self.shared.state.try_lock() {
            Ok(mut state) => look(&mut state),
            Err(TryLockError::Poisoned(poisoned)) => look(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => panic!("state is looked at from within a look at the state"),
        }
    }

    /// Sixty-four random bits, of the node's seed.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.shared.inner().random.bits()
    }

    /// The node's time, since an origin of its driver's. It goes on while handlers wait, and stands still while they run.
    #[must_use]
    pub fn now(&self) -> Time {
        self.shared.inner().now
    }

    /// Sends a message that nobody answers: an object with a `type`. It has no `msg_id`, and no `in_reply_to`.
    ///
    /// # Panics
    /// If it isn't an object with a `type`.
    pub fn send(&self, dest: &str, body: impl Serialize) {
        let fields = fields_of(&body);
        self.shared.inner().send(dest, format_args!("{fields}"));
    }

    /// Asks a node or a service, and waits for its answer: an object with a `type` is sent, and the answer's body comes back. See
    /// [`Rpc`] for how long, and how often it is sent. The `msg_id` is the app's.
    ///
    /// # Panics
    /// If it isn't an object with a `type`.
    pub fn rpc(&self, dest: impl Into<String>, body: impl Serialize) -> Rpc<S> {
        Rpc::new(self.clone(), dest.into(), fields_of(&body))
    }

    /// Waits. Others have their turn, however short it is.
    pub fn sleep(&self, time: Duration) -> Sleep<S> {
        Sleep { context: self.clone(), until: self.now() + time, alarm: None }
    }

    /// Does something beside, for which nobody waits.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.shared.inner().spawned.push(task_of(work));
    }

    /// The linearizable key-value store.
    #[must_use]
    pub fn lin_kv(&self) -> Kv<S> {
        Kv::new(self.clone(), "lin-kv")
    }

    /// The sequentially consistent key-value store: what it shows may be old, but never goes back.
    #[must_use]
    pub fn seq_kv(&self) -> Kv<S> {
        Kv::new(self.clone(), "seq-kv")
    }

    /// The key-value store in which the last write wins, and others may be lost.
    #[must_use]
    pub fn lww_kv(&self) -> Kv<S> {
        Kv::new(self.clone(), "lww-kv")
    }

    /// A number from the linearizable timestamp oracle: greater than all before.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub async fn lin_tso(&self) -> Result<i64, Error> {
        let answer = self.rpc("lin-tso", serde_json::json!({ "type": "ts" })).await?;
        answer["ts"]
            .as_i64()
            .ok_or_else(|| Error::crash(format!("lin-tso answered without a timestamp: {answer}")))
    }
}

/// The text of a body's fields, but for those that the app sets.
fn fields_of(body: &impl Serialize) -> String {
    let Ok(Json::Object(mut fields)) = serde_json::to_value(body) else { panic!("a body is an object") };
    assert!(fields.get("type").is_some_and(Json::is_string), "a body has a `type`: {fields:?}");
    ["msg_id", "in_reply_to"].iter().for_each(|own| drop(fields.remove(*own)));
    let text = Json::Object(fields).to_string();
    text[1..text.len() - 1].to_owned()
}

/// Waits until a time.
pub struct Sleep<S> {
    context: Context<S>,
    until: Time,
    alarm: Option<(Time, u64)>,
}

impl<S> fmt::Debug for Sleep<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("until", &self.until).finish_non_exhaustive()
    }
}

impl<S> Future for Sleep<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.context.shared);
        let mut inner = shared.inner();
        if let Some(alarm) = self.alarm.take() {
            inner.unset_alarm(alarm);
            if inner.now >= self.until {
                return Poll::Ready(());
            }
        }
        self.alarm = Some(inner.set_alarm(self.until, context.waker().clone()));
        Poll::Pending
    }
}

impl<S> Drop for Sleep<S> {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            self.context.shared.inner().unset_alarm(alarm);
        }
    }
}
