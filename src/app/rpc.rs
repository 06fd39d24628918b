//! Requests of the node's own, and how long and how often they are made.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use serde_json::Value as Json;

use super::{Context, Error};
use crate::config::RetryPolicy;
use crate::node::Time;
use crate::random::part;

/// How long an answer is waited for unless something else is said: five round trips of a slow network.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What is longer is for ever.
const INTERVAL_MAX: Duration = Duration::from_secs(1 << 40);

/// A request under way: awaited, it gives the body of the answer. To wait for several at once, join them, as `futures::future::join_all`
/// does.
///
/// # Errors
/// The error that was answered, or [`timeout`](Error::timeout) if no answer came in time: a second, unless something else is said.
#[must_use = "nothing is sent before it is awaited"]
pub struct Rpc<S> {
    context: Context<S>,
    dest: String,
    fields: String,
    timeout: Duration,
    retry: Option<RetryPolicy>,
    under_way: Option<UnderWay>,
}

#[derive(Clone, Copy)]
struct UnderWay {
    number: i64,
    /// When to send it again.
    again: Time,
    interval: Duration,
    until: Time,
    alarm: Option<(Time, u64)>,
}

impl<S> fmt::Debug for Rpc<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("dest", &self.dest).field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl<S> Rpc<S> {
    pub(super) fn new(context: Context<S>, dest: String, fields: String) -> Self {
        Self { context, dest, fields, timeout: TIMEOUT, retry: None, under_way: None }
    }

    /// Waits so long; a second if nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the same again and again until it is answered: for what may happen twice without harm. It is given up after the
    /// [timeout](Rpc::timeout) all the same.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sends the same again and again until it is answered, by an error or otherwise, however long that takes: for what may happen
    /// twice without harm.
    pub fn until_answered(self) -> Self {
        self.retry(RetryPolicy::default()).timeout(Duration::MAX)
    }
}

impl<S> Future for Rpc<S> {
    type Output = Result<Json, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let shared = Arc::clone(&self.context.shared);
        let mut inner = shared.inner();
        let now = inner.now;
        let is_new = self.under_way.is_none();
        let mut under_way = self.under_way.unwrap_or_else(|| UnderWay {
            number: inner.call(&self.dest),
            again: now,
            interval: self.retry.map_or(Duration::MAX, |retry| retry.min),
            until: now + self.timeout,
            alarm: None,
        });
        if let Some(alarm) = under_way.alarm.take() {
            inner.unset_alarm(alarm);
        }
        if let Some(answer) = inner.answer(under_way.number, context.waker()) {
            self.under_way = None;
            return Poll::Ready(answer);
        }
        if now >= under_way.until && !is_new {
            inner.forget_call(under_way.number);
            self.under_way = None;
            return Poll::Ready(Err(Error::timeout(format!("{} did not answer", self.dest))));
        }
        if now >= under_way.again {
            inner.send(&self.dest, format_args!("{},\"msg_id\":{}", self.fields, under_way.number));
            // A quarter more or less, so that nodes that failed together don't try again together.
            let spread = 0.75 + part(inner.random.bits()) / 2.0;
            let interval = under_way.interval;
            under_way.again = if self.retry.is_none() || interval > INTERVAL_MAX {
                Time::NEVER
            } else {
                now + interval.mul_f64(spread)
            };
            under_way.interval =
                self.retry.map_or(interval, |retry| interval.saturating_mul(2).min(retry.max));
        }
        let next = under_way.again.min(under_way.until);
        under_way.alarm = next.if_ever().map(|next| inner.set_alarm(next, context.waker().clone()));
        self.under_way = Some(under_way);
        Poll::Pending
    }
}

impl<S> Drop for Rpc<S> {
    fn drop(&mut self) {
        if let Some(UnderWay { number, alarm, .. }) = self.under_way.take() {
            let mut inner = self.context.shared.inner();
            inner.forget_call(number);
            alarm.into_iter().for_each(|alarm| inner.unset_alarm(alarm));
        }
    }
}
