//! A run: nodes in a cluster over a network of our own, with clients and faults.
//!
//! A [`Trial`](trial::Trial) is one run as a state machine: it knows the network, the clients, the faults and
//! the history, and no clock, thread or process. A driver tells it the time, hands it what nodes print, and
//! delivers what it wants delivered: [`process`] with real processes, [`virtual_time`] with nodes in this process.
//! [`simulate`](crate::simulate) runs thousands of the latter, under [faults](crate::simulate::faults), and checks them at every step. [`frontier`](crate::frontier) sets what
//! they cost beside what they should. [`load`](crate::load) measures what processor time and memory they take.
//!
//! What Maelstrom does, this does the same way, from option names to the arithmetic of what is counted, so that a
//! figure here means what it means there. Where it differs is told in `docs/maelstrom.md`.

mod clients;
pub mod nemesis;
pub(crate) mod network;
pub mod process;
mod reply;
pub mod scenario;
pub mod scripted;
pub(crate) mod streams;
pub mod trial;
pub mod virtual_time;
