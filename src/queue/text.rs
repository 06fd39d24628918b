//! All values as they are written in a reply, so that no read encodes what one before it has encoded.

use std::fmt;
use std::sync::Arc;

use crate::protocol::{Rope, Value};
use crate::sync::{SegQueue, SwapCell};

/// A chunk of text is shared with whoever writes it from this size on: less is copied faster than it is counted.
const CHUNK: usize = 32 * 1024;

/// The text of a set of values that only grows: decimal numbers with commas between them.
///
/// One thread at a time has the text in hand, and nobody waits for it. Whoever wants to add values and doesn't find it
/// leaves them in `waiting`; who has it next adds those first. Whoever wants to show it and doesn't find it must make do
/// with the set itself.
///
/// # Why a value that was added before is shown
/// Its adder has put it into the text, and put that back; or into `waiting`, from where only the text's owner takes it.
/// A later owner finds it there or in the text: the cell's swaps and the queue's operations are ordered, acquire after
/// release.
pub struct ReadyText {
    text: SwapCell<Option<Box<Text>>>,
    waiting: SegQueue<Value>,
}

#[cfg(not(loom))]
const _: () =
    assert!(SwapCell::<Option<Box<Text>>>::is_lock_free(), "or a lock would be on every message's path");

#[derive(Default)]
struct Text {
    /// Shared with replies that are being written: never changed again.
    closed: Vec<Arc<[u8]>>,
    open: Vec<u8>,
}

impl Text {
    fn add(&mut self, value: Value) {
        if !(self.open.is_empty() && self.closed.is_empty()) {
            self.open.push(b',');
        }
        self.open.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        if self.open.len() >= CHUNK {
            self.closed.push(Arc::from(&self.open[..]));
            self.open.clear();
        }
    }
}

impl fmt::Debug for ReadyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyText").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Default for ReadyText {
    fn default() -> Self {
        Self { text: SwapCell::new(Some(Box::default())), waiting: SegQueue::new() }
    }
}

impl ReadyText {
    /// Adds values, each of which is added once.
    pub fn add(&self, values: &[Value]) {
        match self.take() {
            Some(mut text) => {
                values.iter().for_each(|&value| text.add(value));
                self.text.store(Some(text));
            }
            None => values.iter().for_each(|&value| self.waiting.push(value)),
        }
    }

    /// Appends the text of all values added. False, and nothing is appended, if another thread has it in hand.
    #[must_use]
    pub fn show(&self, out: &mut Rope) -> bool {
        let Some(text) = self.take() else { return false };
        text.closed.iter().for_each(|chunk| out.share(chunk));
        out.own_mut().extend_from_slice(&text.open);
        self.text.store(Some(text));
        true
    }

    /// The text with what waits for it, unless another thread has it.
    fn take(&self) -> Option<Box<Text>> {
        let mut text = self.text.take()?;
        while let Some(value) = self.waiting.pop() {
            text.add(value);
        }
        Some(text)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn shown(text: &ReadyText) -> Option<Vec<Value>> {
        let mut rope = Rope::default();
        rope.own_mut().push(b'[');
        if !text.show(&mut rope) {
            return None;
        }
        rope.own_mut().push(b']');
        Some(serde_json::from_slice(&rope.bytes()).expect("an array"))
    }

    #[test]
    fn values_are_shown_in_the_order_in_which_they_were_added() {
        let text = ReadyText::default();
        assert_eq!(shown(&text), Some(Vec::new()));
        let values: Vec<Value> = (-5000..5000).map(|value| value * 1_000_003).collect();
        for batch in values.chunks(7) {
            text.add(batch);
        }
        assert_eq!(shown(&text), Some(values));
    }

    #[test]
    fn what_is_added_while_another_thread_has_the_text_is_shown_later() {
        let text = ReadyText::default();
        text.add(&[1]);
        let in_hand = text.text.take();
        text.add(&[2, 3]);
        assert_eq!(shown(&text), None);
        text.text.store(in_hand);
        assert_eq!(shown(&text), Some(vec![1, 2, 3]));
    }

    #[test]
    fn threads_that_add_and_show_lose_and_double_nothing() {
        let text = ReadyText::default();
        std::thread::scope(|scope| {
            for first in [0, 10_000] {
                let text = &text;
                scope.spawn(move || {
                    for value in first..first + 10_000 {
                        text.add(&[value]);
                        // What this thread has added is there, if the text is.
                        if value % 64 == 0
                            && let Some(values) = shown(text)
                        {
                            let own = values.iter().filter(|other| (first..=value).contains(other));
                            assert_eq!(own.count() as i64, value - first + 1);
                        }
                    }
                });
            }
        });
        let mut values = shown(&text).expect("nobody else has it");
        values.sort_unstable();
        assert_eq!(values, (0..20_000).collect::<Vec<_>>());
    }
}
