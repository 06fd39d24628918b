//! Framing: bytes in, lines out, in place.

/// What [`Lines::next_line`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line, without its newline, with something else than white space in it.
    Complete(&'a mut [u8]),
    /// A line longer than the limit, of which nothing was kept. Said once for each.
    TooLong,
}

/// Splits a stream of bytes into lines. Holds at most one line's limit and one read's worth of bytes.
#[derive(Debug)]
pub struct Lines {
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

/// The room offered to a read. A pipe holds 64 KiB by default; more would rarely be filled.
const READ_SIZE: usize = 64 * 1024;

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
        if self.buffer.len() < self.end + READ_SIZE {
            // Doubling, so that a long line is copied a bounded number of times.
            self.buffer.resize((self.end + READ_SIZE).max(2 * self.end), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// The first `count` bytes of the last [`room`](Lines::room) have been filled.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.buffer.len());
    }

    /// The next whole line, if there is one. Blank lines are passed over.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        loop {
            let newline = self.buffer[self.searched..self.end].iter().position(|&b| b == b'\n');
            let Some(length) = newline else {
                self.searched = self.end;
                if self.end - self.start > self.limit {
                    self.start = self.end;
                    if !self.skipping {
                        self.skipping = true;
                        return Some(Line::TooLong);
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
                return Some(Line::TooLong);
            }
            if !self.buffer[line.clone()].trim_ascii().is_empty() {
                return Some(Line::Complete(&mut self.buffer[line]));
            }
        }
    }

    /// What is left after the last newline: at the end of input, a line all the same.
    pub fn rest(&mut self) -> Option<&mut [u8]> {
        let rest = self.start..self.end;
        self.start = self.end;
        self.searched = self.end;
        let wanted =
            !std::mem::take(&mut self.skipping) && !self.buffer[rest.clone()].trim_ascii().is_empty();
        wanted.then(|| &mut self.buffer[rest])
    }
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
                    Line::Complete(line) => String::from_utf8_lossy(line).into_owned(),
                    Line::TooLong => "<too long>".to_owned(),
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
            assert_eq!(lines.rest().as_deref(), Some(&b"three"[..]));
            assert_eq!(lines.rest(), None);
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
        assert_eq!(lines.rest(), None);
        assert_eq!(feed(&mut lines, b"ok\n"), ["ok"]);
    }
}
