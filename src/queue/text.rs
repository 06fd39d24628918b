//! All values as they are written in a reply, so that no read encodes what one before it has encoded.

use std::fmt;
use std::sync::Arc;

use super::log::{Log, Span};
use crate::protocol::Rope;
use crate::sync::SwapCell;

/// A chunk of text is shared with whoever writes it from this size on: less is copied faster than it is counted.
const CHUNK: usize = 32 * 1024;

/// The text of a log: decimal numbers with commas between them.
///
/// A read renders what the log has gained since the last one. Meanwhile the reading thread owns the text, and no other thread
/// waits for it: another one that reads at the same time renders the whole log for itself.
pub struct LogText {
    text: SwapCell<Option<Box<Text>>>,
}

#[cfg(not(loom))]
const _: () =
    assert!(SwapCell::<Option<Box<Text>>>::is_lock_free(), "or a lock would be on every message's path");

#[derive(Default)]
struct Text {
    /// How many entries of the log have been rendered.
    rendered: usize,
    /// Shared with replies that are being written: never changed again.
    closed: Vec<Arc<[u8]>>,
    open: Vec<u8>,
}

impl Text {
    /// Renders what is new.
    fn extend(&mut self, log: &Log) {
        let len = log.len();
        let new = Span { from: self.rendered, to: len, whole: true };
        for value in log.values(new) {
            if !(self.open.is_empty() && self.closed.is_empty()) {
                self.open.push(b',');
            }
            self.open.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            if self.open.len() >= CHUNK {
                self.closed.push(Arc::from(&self.open[..]));
                self.open.clear();
            }
        }
        self.rendered = len;
    }

    fn show(&self, out: &mut Rope) {
        self.closed.iter().for_each(|chunk| out.share(chunk));
        out.own_mut().extend_from_slice(&self.open);
    }
}

impl fmt::Debug for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogText").finish_non_exhaustive()
    }
}

impl Default for LogText {
    fn default() -> Self {
        Self { text: SwapCell::new(Some(Box::default())) }
    }
}

impl LogText {
    /// Appends the text of all values in the log.
    pub fn show(&self, log: &Log, out: &mut Rope) {
        let in_hand = self.text.take();
        let is_mine = in_hand.is_some();
        let mut text = in_hand.unwrap_or_default();
        text.extend(log);
        text.show(out);
        if is_mine {
            self.text.store(Some(text));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::node::Time;
    use crate::protocol::Value;
    use crate::queue::Origin;

    fn shown(text: &LogText, log: &Log) -> Vec<Value> {
        let mut rope = Rope::default();
        rope.own_mut().push(b'[');
        text.show(log, &mut rope);
        rope.own_mut().push(b']');
        serde_json::from_slice(&rope.bytes()).expect("an array")
    }

    #[test]
    fn values_are_shown_in_the_order_of_the_log() {
        let (log, text) = (Log::default(), LogText::default());
        assert_eq!(shown(&text, &log), Vec::<Value>::new());
        let values: Vec<Value> = (-5000..5000).map(|value| value * 1_000_003).collect();
        for batch in values.chunks(7) {
            log.append(batch, Origin::Client, Time::ZERO);
            if batch[0] % 5 == 0 {
                assert_eq!(shown(&text, &log).last(), batch.last());
            }
        }
        assert_eq!(shown(&text, &log), values);
        let in_hand = text.text.take();
        assert_eq!(shown(&text, &log), values, "while another thread has the text");
        text.text.store(in_hand);
        assert_eq!(shown(&text, &log), values);
    }
}
