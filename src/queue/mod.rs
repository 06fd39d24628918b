//! Small, dumb, concurrent containers: the seen set, the log and its text, a peer's inbox and in-flight slots, pools of
//! buffers.
//!
//! They own no lifecycle: nothing here knows of topologies, intervals or retries, and nothing here sends.
//! None of our own code takes a lock.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

mod deadline;
mod inbox;
mod log;
mod pool;
mod receipts;
mod seen;
mod slots;
mod text;

pub use self::deadline::Deadline;
pub use self::inbox::Inbox;
pub use self::log::{Entry, Log, Origin, Span, Stretch};
pub use self::pool::{Pool, Reuse};
pub use self::receipts::{Arrival, Receipts};
pub use self::seen::SeenSet;
pub use self::slots::{InFlight, SLOTS, SlotRing};
pub use self::text::LogText;
