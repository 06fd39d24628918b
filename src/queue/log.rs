//! The log of the values that a node holds, in the order in which it learnt them.

use std::sync::OnceLock;

use crate::node::Time;
use crate::protocol::Value;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// The first chunk holds so many, and each later one as many as all before it: an idle node pays for small chunks.
const FIRST_CHUNK: usize = if cfg!(loom) { 2 } else { 64 };

/// As many chunks as it takes to count to 2^40, which no memory holds.
const CHUNKS: usize = if cfg!(loom) { 3 } else { 35 };

/// Of the word that a stretch has for both, the low bits hold the origin, the others the time, in units that last for nine years.
const ORIGIN_BITS: u32 = 20;
const MICROS_A_UNIT: u64 = 16;

/// Who brought a value, and so who has to be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client: everybody has to be told.
    Client,
    /// The peer of that number: everybody else has to be told.
    Peer(usize),
    /// A peer that tells everybody itself.
    Told,
}

impl Origin {
    /// The most peers that can be told apart.
    pub const PEERS_MAX: usize = (1 << ORIGIN_BITS) - 2;

    fn bits(self) -> u64 {
        match self {
            Origin::Client => 0,
            Origin::Told => 1,
            Origin::Peer(number) => number as u64 + 2,
        }
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Origin::Client,
            1 => Origin::Told,
            // Exact: PEERS_MAX is far below what usize holds.
            _ => Origin::Peer((bits - 2) as usize),
        }
    }

    /// Whether a peer has to be told of the value.
    #[must_use]
    pub fn concerns(self, peer: usize) -> bool {
        match self {
            Origin::Client => true,
            Origin::Peer(from) => from != peer,
            Origin::Told => false,
        }
    }
}

/// An append-only list of values, each with its origin.
///
/// One thread appends, any number of threads read. The appender writes entries, then *publishes* them by moving
/// `len` past them (release); a reader that has loaded `len` (acquire) finds every entry before it written, and none of
/// these ever changes. So whoever remembers a [`Span`] of the log can read the same entries again at any time.
///
/// Values that are appended together have their origin in common, and so do those that clients bring within 16 microseconds:
/// it is written once for all of them. So a value takes eight bytes, and up to sixteen more if it came alone.
#[derive(Debug)]
pub struct Log {
    values: Words,
    len: AtomicUsize,
    /// The positions at which stretches begin: each of entries of one origin and time.
    starts: Words,
    /// Their origins and times.
    origins: Words,
    /// How many stretches there are, the last of which may get longer.
    started: AtomicUsize,
}

/// A list of words that grows without ever moving what is in it.
#[derive(Debug)]
struct Words {
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
}

impl Words {
    fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// Those from an index up to the end of its chunk. Made if there are none yet.
    fn room(&self, index: usize) -> &[AtomicU64] {
        let (chunk, offset) = place(index);
        let zeros = || std::iter::repeat_with(AtomicU64::default).take(FIRST_CHUNK << chunk).collect();
        &self.chunks[chunk].get_or_init(zeros)[offset..]
    }

    /// The same, of what has been made.
    fn rest(&self, index: usize) -> &[AtomicU64] {
        let (chunk, offset) = place(index);
        &self.chunks[chunk].get().expect("what is published has a chunk")[offset..]
    }

    /// One that has been published.
    fn get(&self, index: usize) -> u64 {
        // Relaxed: whoever knows of it has acquired how many there are.
        self.rest(index)[0].load(Ordering::Relaxed)
    }
}

/// One value of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Who brought it.
    pub origin: Origin,
    /// When it was broadcast, as far as this node can tell, to 16 microseconds.
    pub born: Time,
}

/// Entries one after the other that have all but their values in common.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'l> {
    /// Who brought them.
    pub origin: Origin,
    /// When they were broadcast, as far as this node can tell, to 16 microseconds.
    pub born: Time,
    values: &'l [AtomicU64],
}

impl<'l> Stretch<'l> {
    /// Their values.
    pub fn values(self) -> impl ExactSizeIterator<Item = Value> + use<'l> {
        // Relaxed: whoever knows of an entry has acquired it with the length of the log.
        self.values.iter().map(|value| value.load(Ordering::Relaxed).cast_signed())
    }
}

/// Entries of the log from one position up to another, that one excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The position of the first.
    pub from: usize,
    /// The position after the last.
    pub to: usize,
    /// Whether all of them are meant, those too that the peer brought which they are for.
    pub whole: bool,
}

impl Span {
    /// Whether there are no entries in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.from >= self.to
    }
}

impl Default for Log {
    fn default() -> Self {
        let (len, started) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { values: Words::new(), len, starts: Words::new(), origins: Words::new(), started }
    }
}

/// Which chunk an index is in, and where there.
fn place(index: usize) -> (usize, usize) {
    let chunk = (index / FIRST_CHUNK + 1).ilog2();
    // Chunk `k` holds FIRST_CHUNK · 2^k and begins after those of the chunks before it.
    (chunk as usize, index - FIRST_CHUNK * ((1 << chunk) - 1))
}

impl Log {
    /// How many entries are published.
    #[must_use]
    pub fn len(&self) -> usize {
        // Acquire: pairs with the release in `append`; the entries before are written.
        self.len.load(Ordering::Acquire)
    }

    /// Whether nothing has been appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends values of one origin. To be called by one thread at a time.
    pub fn append(&self, mut values: &[Value], origin: Origin, born: Time) {
        if values.is_empty() {
            return;
        }
        // Relaxed, wherever nothing else is said: this thread is the only one that stores any, and the last store publishes them.
        let mut len = self.len.load(Ordering::Relaxed);
        let started = self.started.load(Ordering::Relaxed);
        let origin = (born.as_micros() / MICROS_A_UNIT) << ORIGIN_BITS | origin.bits();
        if started == 0 || self.origins.get(started - 1) != origin {
            self.starts.room(started)[0].store(len as u64, Ordering::Relaxed);
            self.origins.room(started)[0].store(origin, Ordering::Relaxed);
            // Release: pairs with the acquire in `stretches`. Whoever reads older entries may find this stretch, and must find
            // where it begins.
            self.started.store(started + 1, Ordering::Release);
        }
        while !values.is_empty() {
            let room = self.values.room(len);
            let (now, rest) = values.split_at(values.len().min(room.len()));
            for (slot, &value) in room.iter().zip(now) {
                slot.store(value.cast_unsigned(), Ordering::Relaxed);
            }
            len += now.len();
            values = rest;
        }
        // Release: pairs with the acquire in `len`.
        self.len.store(len, Ordering::Release);
    }

    /// A published entry.
    ///
    /// # Panics
    /// If nothing was appended there.
    #[must_use]
    pub fn get(&self, position: usize) -> Entry {
        let one = Span { from: position, to: position + 1, whole: true };
        self.entries(one).next().expect("a published entry")
    }

    /// The published entries of a span.
    pub fn entries(&self, span: Span) -> impl Iterator<Item = Entry> + '_ {
        self.stretches(span).flat_map(|stretch| {
            let Stretch { origin, born, .. } = stretch;
            stretch.values().map(move |value| Entry { value, origin, born })
        })
    }

    /// Their values alone.
    pub fn values(&self, span: Span) -> impl Iterator<Item = Value> + '_ {
        self.stretches(span).flat_map(Stretch::values)
    }

    /// The published entries of a span, those together that have more than their place in common.
    pub fn stretches(&self, span: Span) -> impl Iterator<Item = Stretch<'_>> {
        // Acquire: pairs with the release in `append`. There may be more than the span needs.
        let started = self.started.load(Ordering::Acquire);
        let mut at = span.from;
        let mut index = if span.is_empty() { 0 } else { self.stretch_of(at, started) };
        std::iter::from_fn(move || {
            if at >= span.to {
                return None;
            }
            let origin = self.origins.get(index);
            let end = if index + 1 < started { self.start(index + 1) } else { span.to };
            let chunk = self.values.rest(at);
            let values = &chunk[..chunk.len().min(end.min(span.to) - at)];
            at += values.len();
            index += usize::from(at == end);
            Some(Stretch {
                origin: Origin::from_bits(origin & ((1 << ORIGIN_BITS) - 1)),
                born: Time::from_nanos((origin >> ORIGIN_BITS) * MICROS_A_UNIT * 1000),
                values,
            })
        })
    }

    fn start(&self, index: usize) -> usize {
        // Exact: it was a position before.
        self.starts.get(index) as usize
    }

    /// Which of the first stretches an entry is in. It is sought from the end: those that are read are nearly always the latest.
    fn stretch_of(&self, position: usize, started: usize) -> usize {
        let mut step = 1;
        while step < started && self.start(started - step) > position {
            step *= 2;
        }
        // The first that begins behind the entry is none of those before `low`, and at most `high`.
        let (mut low, mut high) = (started.saturating_sub(step), started - step / 2);
        while low < high {
            let middle = low.midpoint(high);
            if self.start(middle) <= position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_with_their_origins() {
        let log = Log::default();
        assert!(log.is_empty());
        let born = Time::from_nanos(48_000);
        log.append(&[7, -1], Origin::Client, born);
        log.append(&[i64::MIN], Origin::Peer(Origin::PEERS_MAX - 1), Time::ZERO);
        log.append(&[8], Origin::Told, born);
        let entry = |value, origin, born| Entry { value, origin, born };
        assert_eq!(
            log.entries(Span { from: 0, to: log.len(), whole: true }).collect::<Vec<_>>(),
            [
                entry(7, Origin::Client, born),
                entry(-1, Origin::Client, born),
                entry(i64::MIN, Origin::Peer(Origin::PEERS_MAX - 1), Time::ZERO),
                entry(8, Origin::Told, born),
            ]
        );
    }

    #[test]
    fn any_span_has_its_own_entries() {
        let log = Log::default();
        let mut appended = Vec::new();
        // Batches of up to seven values, three in a row of the same origin and time.
        for batch in 0..100_usize {
            let (origin, born) = (Origin::Peer(batch / 3), Time::from_nanos(batch as u64 / 9 * 16_000));
            let values = Vec::from_iter((0..batch % 8).map(|index| (batch * 10 + index) as Value));
            log.append(&values, origin, born);
            appended.extend(values.iter().map(|&value| Entry { value, origin, born }));
        }
        for from in 0..appended.len() {
            assert_eq!(log.get(from), appended[from]);
            for to in from..=appended.len() {
                let span = Span { from, to, whole: true };
                assert!(log.entries(span).eq(appended[from..to].iter().copied()), "{span:?}");
            }
        }
        assert_eq!(log.started.load(Ordering::Relaxed), 34, "what has its origin in common has it once");
    }

    #[test]
    fn positions_fill_every_chunk_without_gaps() {
        let mut next = (0, 0);
        for position in 0..100_000 {
            assert_eq!(place(position), next);
            next.1 += 1;
            if next.1 == FIRST_CHUNK << next.0 {
                next = (next.0 + 1, 0);
            }
        }
    }

    #[test]
    fn a_reader_finds_all_that_is_published_while_another_thread_appends() {
        const VALUES: usize = 200_000;
        let log = Log::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for first in (0..VALUES as i64).step_by(10) {
                    log.append(
                        &Vec::from_iter(first..first + 10),
                        Origin::Peer(first as usize % 7),
                        Time::ZERO,
                    );
                }
            });
            scope.spawn(|| {
                let mut seen = 0;
                while seen < VALUES {
                    let len = log.len();
                    for (position, entry) in
                        (seen..).zip(log.entries(Span { from: seen, to: len, whole: true }))
                    {
                        assert_eq!(entry.value, position as i64);
                        assert_eq!(entry.origin, Origin::Peer(position / 10 * 10 % 7));
                    }
                    seen = len;
                }
            });
        });
    }
}
