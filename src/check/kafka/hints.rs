//! What errors usually come from, and what to do.

/// A value that is not as it should be.
pub(super) const MALFORMED: &str = "Offsets are integers from 0 on. A send is answered with one; a poll \
    with an object from keys to lists of [offset, message].";

/// Polled, never sent.
pub(super) const PHANTOM: &str = "A node returned a message as it was not sent: under the wrong key, or \
    altered on its way, say from a number to a string. Keep the messages of each key apart, and store them \
    as they came.";

/// Polled, although the send failed.
pub(super) const ABORTED: &str = "A node answered a send with an error that means that nothing happened, \
    and the message was stored nevertheless. Answer so only if nothing was stored and nothing will be; \
    otherwise do not answer, or with an error that leaves the outcome open (0, 13).";

/// A circle of messages.
pub(super) const CYCLE: &str = "Two operations polled what the other sent. Messages must become visible \
    only when the operation that sends them is done.";

/// A message that came from the future.
pub(super) const CYCLE_IN_TIME: &str = "A node showed a message before it was sent: it was guessed, or \
    kept from another key or another run. Return only what sends brought.";

/// An operation that polled its own message.
pub(super) const PRECOMMITTED: &str =
    "Messages must become visible only when the operation that sends them is done.";

/// Never polled, although later messages were.
pub(super) const LOST: &str = "The message was acknowledged and then overwritten or never copied: often \
    two nodes read a key's log, append to it and write it back, and the later write covers the earlier. \
    Let one node own each key, or write with compare-and-set, and acknowledge a send only when its message \
    is where polls look for it.";

/// Two messages at one offset.
pub(super) const INCONSISTENT: &str = "An offset was handed out twice: mostly because two nodes count on \
    their own, or both read a counter before either writes it back. Let one node own each key, or take \
    offsets from lin-kv by compare-and-set. Or sends are answered with other offsets than polls show, such as one \
    too many.";

/// One message at two offsets.
pub(super) const DUPLICATE: &str = "A send was carried out twice, mostly because it was retried or \
    forwarded again after a time-out: a request that timed out may have been carried out. Recognize a \
    repeated request where the log is kept, by its sender and its message id. Or sends are answered with other \
    offsets than polls show.";

/// Offsets that sink.
pub(super) const SEND_BACK: &str = "A later send got a lower offset: offsets come from several counters, \
    or from a copy that is out of date. Take them from one counter for each key, owned by one node or kept \
    in lin-kv.";

/// Messages left out between polls.
pub(super) const SKIP: &str = "A poll jumped over messages, and the client goes on behind them. Often an \
    offset is handed out before its message is stored, and polls meanwhile return what comes after. End \
    what a poll returns at the first offset that is handed out but not filled yet.";

/// Messages left out within a poll.
pub(super) const SKIP_WITHIN: &str = "A poll returned messages with a hole between them. Often an offset \
    is handed out before its message is stored, or the node's copy of the log lacks a message. End what a \
    poll returns at the first offset that is not filled yet.";

/// A poll that begins too low.
pub(super) const BACK: &str = "A poll returned what the client had read already. Return messages from the \
    asked offset on, this included, and none below; and never move a message to another offset.";

/// A poll out of order.
pub(super) const BACK_WITHIN: &str = "A poll returned messages out of order, or one twice. Sort them by \
    offset; if they are stored in a map, its order is not that of the log.";

/// Sent, never polled.
pub(super) const UNSEEN: &str = "At the end clients read all keys from the beginning, so these messages \
    are lost, or not copied to the nodes that were asked, or polls return too few messages to catch up \
    before the end.";
