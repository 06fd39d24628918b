//! Small, dumb, concurrent containers: the seen set and its text, a peer's queue, its in-flight slots, pools of buffers.
//!
//! They own no lifecycle: nothing here knows of topologies, intervals or retries, and nothing here sends.
//! Each may be used from any number of threads at once, and none of our own code takes a lock.

mod deadline;
mod peer_queue;
mod pool;
mod receipts;
mod seen;
mod slots;
mod text;

pub use self::deadline::Deadline;
pub use self::peer_queue::PeerQueue;
pub use self::pool::{Pool, Reuse};
pub use self::receipts::{Arrival, Receipts};
pub use self::seen::SeenSet;
pub use self::slots::{Ack, Claim, InFlight, SLOTS, SlotRing};
pub use self::text::ReadyText;
