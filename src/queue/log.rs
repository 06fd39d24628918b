//! The log of the values that a node holds, in the order in which it learnt them.

use std::sync::OnceLock;

use crate::node::Time;
use crate::protocol::Value;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// The first chunk holds so many entries, and each later one as many as all before it: an idle node pays for one
/// small chunk, and no entry ever moves.
const FIRST_CHUNK: usize = if cfg!(loom) { 2 } else { 64 };

/// As many chunks as it takes to count to 2^40 entries, which no memory holds.
const CHUNKS: usize = if cfg!(loom) { 3 } else { 35 };

/// The low bits of an entry's second word hold the origin, the others the time in units that last for nine years.
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
/// One thread appends, any number of threads read. The appender writes an entry, then *publishes* it by moving
/// `len` past it (release); a reader that has loaded `len` (acquire) finds every entry before it written, and none of
/// these ever changes. So whoever remembers a [`Span`] of the log can read the same entries again at any time.
#[derive(Debug)]
pub struct Log {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    len: AtomicUsize,
}

#[derive(Debug)]
struct Slot {
    /// The value's bits.
    value: AtomicU64,
    origin: AtomicU64,
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
        Self { chunks: [const { OnceLock::new() }; CHUNKS], len: AtomicUsize::new(0) }
    }
}

/// Which chunk a position is in, and where there.
fn place(position: usize) -> (usize, usize) {
    let chunk = (position / FIRST_CHUNK + 1).ilog2();
    // Chunk `k` holds FIRST_CHUNK · 2^k entries and begins after those of the chunks before it.
    (chunk as usize, position - FIRST_CHUNK * ((1 << chunk) - 1))
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
    pub fn append(&self, values: &[Value], origin: Origin, born: Time) {
        let origin = (born.as_micros() / MICROS_A_UNIT) << ORIGIN_BITS | origin.bits();
        // Relaxed: this thread is the only one that stores it.
        let mut len = self.len.load(Ordering::Relaxed);
        for &value in values {
            let (chunk, offset) = place(len);
            let slot = &self.chunk(chunk)[offset];
            // Relaxed, both: published by the store below.
            slot.value.store(value.cast_unsigned(), Ordering::Relaxed);
            slot.origin.store(origin, Ordering::Relaxed);
            len += 1;
        }
        // Release: pairs with the acquire in `len`.
        self.len.store(len, Ordering::Release);
    }

    fn chunk(&self, chunk: usize) -> &[Slot] {
        let slot = || Slot { value: AtomicU64::new(0), origin: AtomicU64::new(0) };
        self.chunks[chunk].get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| slot()).collect())
    }

    /// A published entry.
    ///
    /// # Panics
    /// If nothing was appended there.
    #[must_use]
    pub fn get(&self, position: usize) -> Entry {
        let (chunk, offset) = place(position);
        let slot = &self.chunks[chunk].get().expect("a published entry has a chunk")[offset];
        // Relaxed, both: whoever knows of the entry has acquired it with `len`.
        let origin = slot.origin.load(Ordering::Relaxed);
        Entry {
            value: slot.value.load(Ordering::Relaxed).cast_signed(),
            origin: Origin::from_bits(origin & ((1 << ORIGIN_BITS) - 1)),
            born: Time::from_nanos((origin >> ORIGIN_BITS) * MICROS_A_UNIT * 1000),
        }
    }

    /// The published entries of a span.
    pub fn entries(&self, span: Span) -> impl Iterator<Item = Entry> + '_ {
        (span.from..span.to).map(|position| self.get(position))
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
