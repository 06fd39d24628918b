//! The wire: one JSON object a line, as Maelstrom speaks it, and natter's own gossip messages.
//!
//! Owns the borrowed message types, the parser, the encoder and the framing of lines. Knows nothing of what
//! a node does with a message. Nothing here panics on any input, and no call reads past its line.
//!
//! natter's own messages between nodes:
//!
//! | body | meaning |
//! | --- | --- |
//! | `{"type":"delta","generation":G,"values":[V,…],"link":[…]}` | values the receiver may lack; resent until acknowledged |
//! | `{"type":"delta_ok","link":[…]}` | an acknowledgement that found no delta to travel on |
//! | `{"type":"ping","link":[…]}` | a question: the receiver answers at once, with a `delta_ok` or a `sync`. To a peer that has not been answering it brings values, too |
//! | `{"type":"sync","round":N,"ranges":[…],"link":[…]}` | a step of anti-entropy: what the sender holds, by fingerprints |
//!
//! A delta whose values come in runs says `"runs":[F,N,…]` instead, two integers for each run: its first value, and how many
//! they are.
//!
//! What each says is in [`link`]; the array `link` has acknowledgements, times, and the digest of what the sender holds. A delta without it, from
//! somebody who isn't a natter node, is acknowledged at once and by its name: `{"type":"delta_ok","generation":G}`;
//! with a `msg_id` the answer carries `in_reply_to` as well.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

pub mod encode;
mod error;
mod field;
mod lines;
pub mod link;
mod parse;
mod rope;
mod runs;
mod scan;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use self::error::{ErrorCode, Excerpt, LineError, Reason, Refusal};
pub use self::lines::{Line, LineBuf, Lines, NextLine};
pub use self::parse::{Body, Echoed, Message, Request, Scratch, parse, parse_fully};
pub use self::rope::Rope;
#[cfg(feature = "workbench")]
pub(crate) use self::runs::expand;
pub use self::runs::{RUNS_VALUES_MAX, integers_by_runs};

/// A value that is broadcast.
pub type Value = i64;

/// The most integers that one delta tells its values by. Small messages are lost less often, and are cheap to resend.
pub const BATCH_MAX: usize = 64;

/// The values of one delta. One of natter's own leaves its inline storage only if it tells them by runs.
pub type Batch = SmallVec<[Value; BATCH_MAX]>;

/// Names one delta between one sender and one receiver; an acknowledgement names the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The last of them, 2^62 - 1: zero comes after it.
    pub const LAST: Self = Self((1 << 62) - 1);
}
