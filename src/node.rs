//! What a node is, whichever design it follows: a state machine from lines to lines.
//!
//! A [`Node`] owns no clock, thread or file. Whoever drives it (the runtime, a test, a bench) tells it the
//! time and carries its [`Outbox`] away.

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::ops::Add;
use std::time::Duration;

use crate::protocol::encode::{self, Envelope};
use crate::protocol::{Line, Rope, Value};

/// A point in time: nanoseconds since an origin that the driver chose. Never compared between drivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The driver's origin.
    pub const ZERO: Time = Time(0);
    /// Later than everything; stands for "no deadline" where an atomic holds a time.
    pub const NEVER: Time = Time(u64::MAX);

    /// The time `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1000
    }

    /// The time so long before this; the origin if that is nearer.
    #[must_use]
    pub fn before(self, delay: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(delay)))
    }

    /// How long after `earlier` this is; zero if it isn't.
    #[must_use]
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Itself, or nothing if it is [`Time::NEVER`].
    #[must_use]
    pub fn if_ever(self) -> Option<Time> {
        (self != Time::NEVER).then_some(self)
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::NEVER`].
    fn add(self, delay: Duration) -> Time {
        Time(self.0.saturating_add(nanos(delay)))
    }
}

/// A duration's nanoseconds, or the most there are.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration's microseconds, or the most there are.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What a call to a [`Node`] wants done: messages to send and things an operator should hear of.
///
/// Messages are encoded as they are sent, each one line of JSON with its newline, one after the other in one
/// rope, so that a driver writes many of them at once. A driver that hands them on itself, like the simulator, is told where
/// each begins, and who sends it to whom.
#[derive(Debug, Default)]
pub struct Outbox {
    rope: Rope,
    /// Where each line begins, and where its parts are.
    envelopes: Vec<(usize, Envelope)>,
    reports: Vec<Report>,
}

/// A message in an [`Outbox`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Who sends it.
    pub src: Cow<'a, str>,
    /// To whom.
    pub dest: Cow<'a, str>,
    /// Its body: the text of a JSON object, if the node is right.
    pub body: &'a [u8],
}

/// The messages in an [`Outbox`].
#[derive(Debug)]
pub struct Messages<'a> {
    lines: Cow<'a, [u8]>,
    envelopes: &'a [(usize, Envelope)],
}

impl Messages<'_> {
    /// Each of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = Sent<'_>> {
        let starts = self.envelopes.iter().map(|(start, _)| *start);
        let ends = starts.skip(1).chain(iter::once(self.lines.len()));
        self.envelopes.iter().zip(ends).map(|((start, envelope), end)| {
            let (src, dest, body) = envelope.parts(&self.lines[*start..end]);
            Sent { src, dest, body }
        })
    }
}

/// Something an operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A line of input was skipped, and why.
    Skipped(String),
    /// A handler panicked, or other work of an app: where, and what it said.
    Panicked(String),
    /// Anything else.
    Note(String),
}

impl Outbox {
    /// Sends a message, of which `body` appends the body: an object, without line breaks.
    pub fn send(&mut self, src: &str, dest: &str, body: impl FnOnce(&mut Vec<u8>)) {
        self.send_rope(src, dest, |rope| body(rope.own_mut()));
    }

    /// The same of a body of which a part is shared.
    pub fn send_rope(&mut self, src: &str, dest: &str, body: impl FnOnce(&mut Rope)) {
        let start = self.rope.len();
        let envelope = encode::open_line(self.rope.own_mut(), src, dest);
        self.envelopes.push((start, envelope));
        body(&mut self.rope);
        encode::close_line(self.rope.own_mut());
    }

    /// The messages so far.
    #[must_use]
    pub fn messages(&self) -> Messages<'_> {
        Messages { lines: self.lines(), envelopes: &self.envelopes }
    }

    /// Their text: whole lines. Copied if a part of them is shared.
    #[must_use]
    pub fn lines(&self) -> Cow<'_, [u8]> {
        self.rope.bytes()
    }

    /// How many bytes they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rope.len()
    }

    /// Whether there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rope.is_empty()
    }

    /// Exchanges the messages for `rope`, which must be empty.
    #[must_use]
    pub fn replace(&mut self, rope: Rope) -> Rope {
        debug_assert!(rope.is_empty());
        self.envelopes.clear();
        std::mem::replace(&mut self.rope, rope)
    }

    /// Throws the messages away, as they have been written.
    pub fn clear(&mut self) {
        self.rope.clear();
        self.envelopes.clear();
    }

    /// A line of input can't be taken as a message. Off the message path: it allocates.
    pub fn skip(&mut self, why: &dyn fmt::Display) {
        self.reports.push(Report::Skipped(why.to_string()));
    }

    /// Something else that an operator should hear of. Off the message path: it allocates.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        self.reports.push(Report::Note(what.to_string()));
    }

    /// Something panicked. Off the message path: it allocates.
    pub fn panicked(&mut self, what: fmt::Arguments<'_>) {
        self.reports.push(Report::Panicked(what.to_string()));
    }

    /// The reports so far, oldest first.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Takes the reports away, oldest first.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }
}

/// A Maelstrom node of some design.
///
/// Threads share it: one may be in [`handle`](Node::handle) while another is in [`tick`](Node::tick).
/// Neither ever waits for time to pass, and neither panics on any input.
pub trait Node: Send + Sync {
    /// Working memory of one thread that handles lines, such as a parser's buffers.
    type Scratch: Default + Send;

    /// Handles one line of input.
    fn handle(&self, now: Time, line: Line<'_>, scratch: &mut Self::Scratch, out: &mut Outbox);

    /// Does what is due: flushes, retries. Calling it too early or too often does no harm.
    fn tick(&self, now: Time, out: &mut Outbox);

    /// When [`tick`](Node::tick) is next needed. May move nearer in any `handle`, and changes in any `tick`.
    fn next_deadline(&self) -> Option<Time>;

    /// Sends at once what waits for its flush. The last call before the node goes away.
    fn finish(&self, now: Time, out: &mut Outbox);
}

/// A node whose insides may be looked at, by one thread and while no call to it is under way.
pub trait Inspect: Node {
    /// Whether it holds a value: whether a read would show it.
    fn holds(&self, value: Value) -> bool;

    /// How many values it holds.
    fn held(&self) -> usize;

    /// Checks what must hold of its structures between two calls, at its own time.
    ///
    /// # Errors
    /// Says what does not.
    fn audit(&self, now: Time) -> Result<(), String>;

    /// What it does otherwise than planned while it has something to do. Where every node can reach every other, there is
    /// nothing in the end.
    fn deviation_from_plan(&self) -> Option<String>;

    /// Where a value waits on its way to other nodes, a line for each of them.
    fn whereabouts(&self, value: Value) -> Vec<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_to_never_stays_never() {
        assert_eq!(Time::NEVER + Duration::from_secs(1), Time::NEVER);
        assert_eq!(Time::from_nanos(7) + Duration::MAX, Time::NEVER);
    }

    #[test]
    fn since_a_later_time_is_zero() {
        assert_eq!(Time::from_nanos(5).since(Time::from_nanos(9)), Duration::ZERO);
        assert_eq!(Time::from_nanos(9).since(Time::from_nanos(5)), Duration::from_nanos(4));
    }

    #[test]
    fn replaced_messages_come_out_once() {
        let mut out = Outbox::default();
        out.send("n0", "c1", |body| body.extend_from_slice(b"{}"));
        let line = b"{\"src\":\"n0\",\"dest\":\"c1\",\"body\":{}}\n";
        assert_eq!(&*out.replace(Rope::default()).bytes(), line);
        assert!(out.is_empty() && out.lines().is_empty() && out.messages().iter().next().is_none());
    }

    #[test]
    fn each_message_is_told_with_its_names_and_its_body() {
        let mut out = Outbox::default();
        out.send("n0", "c1", |body| body.extend_from_slice(b"{\"a\":1}"));
        out.send_rope("n0", "c\"2", |body| {
            body.own_mut().push(b'{');
            body.share(&b"\"b\":2"[..].into());
            body.own_mut().push(b'}');
        });
        out.send("n\u{e9}", "", |_| {});
        let messages = out.messages();
        let told: Vec<_> = messages.iter().map(|Sent { src, dest, body }| (src, dest, body)).collect();
        let expected: [(&str, &str, &[u8]); 3] =
            [("n0", "c1", b"{\"a\":1}"), ("n0", "c\"2", b"{\"b\":2}"), ("n\u{e9}", "", b"")];
        assert_eq!(told, expected.map(|(src, dest, body)| (src.into(), dest.into(), body)));
        let lines = out.lines();
        let mut lines = lines.split(|&byte| byte == b'\n').map(serde_json::from_slice::<serde_json::Value>);
        assert_eq!(lines.nth(1).expect("a line").expect("JSON")["dest"], "c\"2");
    }
}
