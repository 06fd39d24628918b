//! How replies get from their makers to stdout: two ways, one for each design.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use smallvec::SmallVec;

use super::input::Wake;
use crate::node::Outbox;
use crate::protocol::Rope;
use crate::queue::Pool;
use crate::sync::{ArrayQueue, AtomicBool, Ordering, SegQueue, Thread, current, park};

/// Takes replies from the reader and the ticker.
pub(super) trait Sink: Sync {
    /// Takes the replies if it is time to, with more to come soon.
    fn offer(&self, out: &mut Outbox);

    /// Takes the replies: nothing more is to come for now.
    fn flush(&self, out: &mut Outbox);

    /// Why writing failed, if it did. Says so once.
    fn failure(&self) -> Option<io::Error>;
}

/// The simple way: one write a reply, under a mutex.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    stdout: Mutex<File>,
    failed: Failed<'a>,
}

impl<'a> Locked<'a> {
    pub(super) fn new(stdout: File, wake: &'a Wake) -> Self {
        Self { stdout: Mutex::new(stdout), failed: Failed::new(wake) }
    }
}

impl Sink for Locked<'_> {
    fn offer(&self, out: &mut Outbox) {
        self.flush(out);
    }

    fn flush(&self, out: &mut Outbox) {
        if !out.is_empty() {
            let mut stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
            self.failed.unless(|| write_all(&mut stdout, &mut [IoSlice::new(&out.lines())]));
            out.clear();
        }
    }

    fn failure(&self) -> Option<io::Error> {
        self.failed.take()
    }
}

/// Hand over at this size: half of what a pipe holds, so that writing and reading it overlap. Also the most a reply can wait for others while input is
/// plenty; when there is none, everything is handed over at once.
const BUFFER_FULL: usize = 128 * 1024;

/// Buffers that may wait for the writer. With stdout stuck, this many times [`BUFFER_FULL`] (or the largest
/// read, if that is more) is all that is held; then the makers wait, and the input with them.
const BUFFERS_WAITING: usize = if cfg!(loom) { 1 } else { 8 };

/// Those that wait, one being written, one being filled by the reader and one by the ticker.
const BUFFERS_KEPT: usize = BUFFERS_WAITING + 1 + 1 + 1;

/// The lock-free way: full buffers, through a bounded queue, to one writer thread.
///
/// Whoever pushes unparks the writer; the writer parks only after it found the queue empty, and `park`
/// remembers an unpark that came between. A maker that finds the queue full notes its thread in `blocked`
/// and tries again before it parks; the writer unparks all that are noted whenever it takes a buffer and leaves the
/// queue half empty, so that they have some room. So either the second try finds room, or the note is there when the
/// writer gets that far, as it does from a full queue.
#[derive(Debug)]
pub(super) struct Piped<'a> {
    ready: ArrayQueue<Rope>,
    buffers: Pool<Rope>,
    writer: OnceLock<Thread>,
    blocked: SegQueue<Thread>,
    closed: AtomicBool,
    failed: Failed<'a>,
}

impl<'a> Piped<'a> {
    pub(super) fn new(wake: &'a Wake) -> Self {
        Self {
            ready: ArrayQueue::new(BUFFERS_WAITING),
            buffers: Pool::new(BUFFERS_KEPT),
            writer: OnceLock::new(),
            blocked: SegQueue::new(),
            closed: AtomicBool::new(false),
            failed: Failed::new(wake),
        }
    }

    /// Names the thread that runs [`write_all`](Piped::write_all), before anything is sent. Dropping what
    /// this returns lets that thread finish when it has written everything.
    pub(super) fn start(&self, writer: Thread) -> Closing<'_> {
        self.writer.get_or_init(|| writer);
        Closing(self)
    }

    /// The writer thread's whole life: writes what is ready until the sink is closed.
    pub(super) fn write_all(&self, mut stdout: File) {
        loop {
            // Acquire: pairs with the release in `Closing::drop`; what was pushed before is found below.
            let closed = self.closed.load(Ordering::Acquire);
            if let Some(buffer) = self.ready.pop() {
                if self.ready.len() <= BUFFERS_WAITING / 2 {
                    while let Some(maker) = self.blocked.pop() {
                        maker.unpark();
                    }
                }
                self.failed.unless(|| write_rope(&mut stdout, &buffer));
                self.buffers.give(buffer);
            } else if closed {
                return;
            } else {
                park();
            }
        }
    }

    fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

impl Sink for Piped<'_> {
    fn offer(&self, out: &mut Outbox) {
        if out.len() >= BUFFER_FULL {
            self.flush(out);
        }
    }

    fn flush(&self, out: &mut Outbox) {
        if out.is_empty() {
            return;
        }
        let mut buffer = out.replace(self.buffers.take());
        while let Err(back) = self.ready.push(buffer) {
            self.blocked.push(current());
            match self.ready.push(back) {
                Ok(()) => break,
                Err(back) => {
                    park();
                    buffer = back;
                }
            }
        }
        self.wake_writer();
    }

    fn failure(&self) -> Option<io::Error> {
        self.failed.take()
    }
}

/// Closes a [`Piped`] when dropped.
#[derive(Debug)]
pub(super) struct Closing<'a>(&'a Piped<'a>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        // Release: pairs with the acquire in `Piped::write_all`.
        self.0.closed.store(true, Ordering::Release);
        self.0.wake_writer();
    }
}

/// Whether writing has failed: if so, the reader is woken to stop, and the rest is thrown away.
#[derive(Debug)]
struct Failed<'a> {
    /// Relaxed throughout: it spares writes that would fail, and publishes nothing.
    yes: AtomicBool,
    /// Only touched by a failure and at the end.
    error: Mutex<Option<io::Error>>,
    wake: &'a Wake,
}

impl<'a> Failed<'a> {
    fn new(wake: &'a Wake) -> Self {
        Self { yes: AtomicBool::new(false), error: Mutex::new(None), wake }
    }

    fn unless(&self, write: impl FnOnce() -> io::Result<()>) {
        if !self.yes.load(Ordering::Relaxed)
            && let Err(error) = write()
        {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            self.yes.store(true, Ordering::Relaxed);
            self.wake.wake();
        }
    }

    fn take(&self) -> Option<io::Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How many pieces a system call writes.
const PIECES: usize = 64;

fn write_rope(stdout: &mut File, rope: &Rope) -> io::Result<()> {
    let mut pieces = rope.pieces().peekable();
    while pieces.peek().is_some() {
        let mut slices: SmallVec<[IoSlice<'_>; PIECES]> =
            pieces.by_ref().take(PIECES).map(IoSlice::new).collect();
        write_all(stdout, &mut slices)?;
    }
    Ok(())
}

/// Writes everything, also to a stream that somebody made non-blocking.
fn write_all(stdout: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match stdout.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match poll(&mut [PollFd::new(stdout, PollFlags::OUT)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(all(test, loom))]
mod model {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::sync::{Arc, LazyLock};

    use super::*;

    static WAKE: LazyLock<Wake> = LazyLock::new(|| Wake::new(io::pipe().expect("a pipe").1));

    fn say(sink: &Piped<'_>, text: &str) {
        let mut out = Outbox::default();
        out.lines_mut().extend_from_slice(text.as_bytes());
        sink.flush(&mut out);
    }

    #[test]
    fn what_two_makers_say_is_written_before_the_writer_ends_and_nobody_sleeps_for_ever() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let sink = Arc::new(Piped::new(&WAKE));
            let (mut written, stdout) = io::pipe().expect("a pipe");
            let writer = {
                let sink = Arc::clone(&sink);
                loom::thread::spawn(move || sink.write_all(OwnedFd::from(stdout).into()))
            };
            let closing = sink.start(writer.thread().clone());
            // There is room for one.
            let makers = [&["first\n", "second\n"][..], &["ticker\n"]].map(|texts| {
                let sink = Arc::clone(&sink);
                loom::thread::spawn(move || texts.iter().for_each(|text| say(&sink, text)))
            });
            makers.into_iter().for_each(|maker| maker.join().expect("no panic"));
            drop(closing);
            writer.join().expect("no panic");
            let mut text = String::new();
            written.read_to_string(&mut text).expect("readable");
            let mut lines: Vec<&str> = text.lines().collect();
            lines.retain(|&line| line != "ticker");
            assert_eq!((lines, text.lines().count()), (vec!["first", "second"], 3));
        });
    }
}
