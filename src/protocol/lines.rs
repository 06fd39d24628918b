//! Framing: bytes in, lines out, in place.

use std::ops::Range;

/// How many bytes after a line its parser may read: it looks at so many at a time.
const PADDING: usize = simd_json::INPUT_PADDING;

/// A line, without its newline. It is scratch space: whoever reads it may overwrite it.
#[derive(Debug)]
pub struct Line<'a> {
    /// The line, and [`PADDING`] bytes of anything.
    padded: &'a mut [u8],
}

impl<'a> Line<'a> {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.len()]
    }

    pub(super) fn len(&self) -> usize {
        self.padded.len() - PADDING
    }

    /// Its bytes with those after it.
    pub(super) fn padded(&self) -> &[u8] {
        self.padded
    }

    /// Its bytes with those after it, and how many are its own.
    pub(super) fn into_padded(self) -> (&'a mut [u8], usize) {
        let len = self.len();
        (self.padded, len)
    }
}

/// A line that owns its bytes, for who doesn't get it from [`Lines`].
#[derive(Clone, Debug)]
pub struct LineBuf {
    padded: Vec<u8>,
}

impl LineBuf {
    /// The line, for one reader: it may be overwritten.
    pub fn line(&mut self) -> Line<'_> {
        Line { padded: &mut self.padded }
    }
}

impl<T: Into<Vec<u8>>> From<T> for LineBuf {
    fn from(bytes: T) -> Self {
        let mut padded = bytes.into();
        padded.resize(padded.len() + PADDING, 0);
        Self { padded }
    }
}

/// What [`Lines::next_line`] found.
#[derive(Debug)]
pub enum NextLine<'a> {
    /// A line with something else than white space in it.
    Complete(Line<'a>),
    /// A line longer than the limit, of which nothing was kept. Said once for each.
    TooLong,
}

/// Splits a stream of bytes into lines. Holds at most one line's limit and one read's worth of bytes.
#[derive(Debug)]
pub struct Lines {
    /// With room for the padding of the last line.
    buffer: Vec<u8>,
    /// Where the unread bytes start.
    start: usize,
    /// How far the unread bytes have been searched for a newline.
    searched: usize,
    /// Where the unread bytes end; behind it is room for the next read.
    end: usize,
    limit: usize,
    /// In the middle of a line that is too long.
    skipping: bool,
}

/// The room offered to a read: what the pipes of a node hold at the most.
const READ_SIZE: usize = 256 * 1024;

/// What a long line leaves behind is given back if it is more than this.
const KEPT_MAX: usize = 4 * READ_SIZE;

impl Lines {
    /// Lines of at most `limit` bytes, newline not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, end: 0, limit, skipping: false }
    }

    /// Room for a read; [`filled`](Lines::filled) tells how much of it was used.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        if self.end <= READ_SIZE && self.buffer.len() > KEPT_MAX {
            self.buffer.truncate(READ_SIZE);
            self.buffer.shrink_to_fit();
        }
        if self.buffer.len() < self.end + READ_SIZE + PADDING {
            // Doubling, so that a long line is copied a bounded number of times. New zeros take no memory before they are used.
            let mut larger = vec![0; (self.end + READ_SIZE).max(2 * self.end) + PADDING];
            larger[..self.end].copy_from_slice(&self.buffer[..self.end]);
            self.buffer = larger;
        }
        let last = self.buffer.len() - PADDING;
        &mut self.buffer[self.end..last]
    }

    /// The first `count` bytes of the last [`room`](Lines::room) have been filled.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end + PADDING <= self.buffer.len());
    }

    /// The next whole line, if there is one. Blank lines are passed over.
    pub fn next_line(&mut self) -> Option<NextLine<'_>> {
        loop {
            let Some(length) = memchr::memchr(b'\n', &self.buffer[self.searched..self.end]) else {
                self.searched = self.end;
                if self.end - self.start > self.limit {
                    self.start = self.end;
                    if !self.skipping {
                        self.skipping = true;
                        return Some(NextLine::TooLong);
                    }
                }
                return None;
            };
            let line = self.start..self.searched + length;
            self.start = line.end + 1;
            self.searched = self.start;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.limit {
                return Some(NextLine::TooLong);
            }
            if !is_blank(&self.buffer[line.clone()]) {
                return Some(NextLine::Complete(self.line(line)));
            }
        }
    }

    /// What is left after the last newline: at the end of input, a line all the same.
    pub fn rest(&mut self) -> Option<Line<'_>> {
        let rest = self.start..self.end;
        self.start = self.end;
        self.searched = self.end;
        let wanted = !std::mem::take(&mut self.skipping) && !is_blank(&self.buffer[rest.clone()]);
        wanted.then(|| self.line(rest))
    }

    fn line(&mut self, line: Range<usize>) -> Line<'_> {
        Line { padded: &mut self.buffer[line.start..line.end + PADDING] }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(lines: &mut Lines, mut bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let room = lines.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            lines.filled(count);
            bytes = &bytes[count..];
            while let Some(line) = lines.next_line() {
                found.push(match line {
                    NextLine::Complete(line) => String::from_utf8_lossy(line.bytes()).into_owned(),
                    NextLine::TooLong => "<too long>".to_owned(),
                });
            }
        }
        found
    }

    #[test]
    fn lines_come_out_however_the_bytes_are_cut() {
        let text = b"one\n\n  \r\ntwo\nthree";
        for size in 1..text.len() {
            let mut lines = Lines::new(100);
            let found: Vec<String> = text.chunks(size).flat_map(|chunk| feed(&mut lines, chunk)).collect();
            assert_eq!(found, ["one", "two"], "chunks of {size}");
            assert_eq!(lines.rest().expect("a line").bytes(), b"three");
            assert!(lines.rest().is_none());
        }
    }

    #[test]
    fn a_line_over_the_limit_is_said_once_and_the_next_one_survives() {
        let text = b"12345678\n123456789\nok\n";
        for size in 1..text.len() {
            let mut lines = Lines::new(8);
            let found: Vec<String> = text.chunks(size).flat_map(|chunk| feed(&mut lines, chunk)).collect();
            assert_eq!(found, ["12345678", "<too long>", "ok"], "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_its_limit() {
        let mut lines = Lines::new(1 << 20);
        let found: Vec<String> = (0..1000).flat_map(|_| feed(&mut lines, &[b'x'; 65536])).collect();
        assert_eq!(found, ["<too long>"]);
        assert!(lines.buffer.len() <= 2 * ((1 << 20) + READ_SIZE), "{}", lines.buffer.len());
        assert!(lines.rest().is_none());
        assert_eq!(feed(&mut lines, b"ok\n"), ["ok"]);
    }

    #[test]
    fn a_long_line_leaves_no_long_buffer_behind() {
        let mut lines = Lines::new(1 << 24);
        let long = [vec![b'x'; 1 << 22], b"\n".to_vec()].concat();
        assert_eq!(feed(&mut lines, &long)[0].len(), 1 << 22);
        assert_eq!(feed(&mut lines, b"ok\n"), ["ok"]);
        assert!(lines.buffer.capacity() <= KEPT_MAX, "{}", lines.buffer.capacity());
    }
}
