//! A run: nodes in a cluster over a network of our own, with clients and faults.
//!
//! A [`Trial`](trial::Trial) is one run as a state machine: it knows the network, the clients, the faults and
//! the history, and no clock, thread or process. A driver tells it the time, hands it what nodes print, and
//! delivers what it wants delivered: [`process`] with real processes, [`virtual_time`] with nodes in this process.
//! [`simulate`](crate::simulate) runs thousands of the latter, under [hazards](crate::simulate::hazards), and checks them at every step. [`frontier`](crate::frontier) sets what
//! they cost beside what they should. [`load`](crate::load) measures what processor time and memory they take.
//!
//! What Maelstrom does, this does the same way, from option names to the checker's arithmetic, so that a
//! figure here means what it means there. The differences:
//!
//! * Each message is delivered when it is due. In Maelstrom, a message that a node waits for holds back the
//!   ones that come after, a client's included.
//! * Duplicates in a read make the run invalid. Jepsen means to do that as well, but its comparison is off.
//! * A node that dies of its own accord, or prints what is no message, ends the run at once rather than at its
//!   end.
//! * What is sent to a node that was killed vanishes, and so does what it printed and was not read.
//! * A value that only nodes held which were killed is told from a lost one, and does not make the run invalid.
//! * An answer for a client that has given up is dropped; in Maelstrom it is an error in the log.

mod clients;
mod errors;
pub mod nemesis;
pub mod network;
pub mod process;
mod reply;
pub mod scenario;
pub(crate) mod streams;
pub mod trial;
pub mod virtual_time;
