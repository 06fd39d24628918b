//! A broadcast node for [Maelstrom](https://github.com/jepsen-io/maelstrom), in two designs, and a test bench
//! that runs any Maelstrom node without a JVM.
//!
//! # Map
//!
//! Dependence goes one way, down this list and never up:
//!
//! | module | owns |
//! | --- | --- |
//! | [`protocol`] | messages, parser, encoder, framing |
//! | [`node`] | what a node is: the [`Node`](node::Node) trait, [`Time`](node::Time), the [`Outbox`](node::Outbox) |
//! | [`config`] | a node's settings and their defaults |
//! | [`queue`] | concurrent containers: seen set and its text, peer queue, in-flight slots, pools |
//! | [`gossip`] | the lock-free design |
//! | [`simple`] | the simple design: one mutex, one timer a peer |
//! | [`runtime`] | threads, clocks and stdio for a node |
//! | [`app`] | a node of your own: handlers, requests, times, key-value stores |
//!
//! The test bench, behind the feature `workbench`:
//!
//! | module | owns |
//! | --- | --- |
//! | `history` | what clients and the nemesis did, in order |
//! | `check` | checkers: from a history to a verdict |
//! | `service` | the services that nodes may use: lin-kv, seq-kv, lww-kv, lin-tso |
//! | `workload` | what clients ask, how they take the answers, which checker judges |
//! | `cluster` | a run: network, faults, clients; drivers with real processes and in virtual time |
//! | `seeds` | a node of your own in virtual time, in `cargo test` |
//! | `simulate` | thousands of runs in virtual time, checked at every step |
//! | `report` | what is shown and stored of a run |
//! | `frontier` | what a latency budget should cost in messages, and what it does |
//! | `challenge` | the Gossip Glomers challenges and their targets |
//! | `load` | both designs on the same loads, as processes: time and memory |
//!
//! # Guarantees of both designs
//!
//! * A value whose broadcast was acknowledged reaches every node that the network lets be reached, however many
//!   messages are lost, repeated or reordered, as long as one node that holds it lives. A node that is killed and
//!   started again is told what it has forgotten.
//! * Reads and acknowledgements are never delayed, and a read shows all that the node holds.
//! * No input makes a node panic.
//!
//! Nothing is kept on disk: a node that is killed forgets.
//!
//! # What "lock-free" covers
//!
//! From a line's arrival to its reply, and from a value's arrival to its last retry, the lock-free design
//! takes no lock of its own: no thread waits in code of ours for another one to move on. What a stalled thread
//! has in hand does wait: a batch, and with it the later ones to the same peer. Below it, `DashMap` locks one of its
//! shards for the length of a probe, `SegQueue`'s pop may spin while a push to the same place is stalled, and the
//! allocator is the allocator. What happens once (`init`, making a link) goes through `OnceLock`.

pub mod app;
pub mod config;
pub mod gossip;
pub mod node;
pub mod protocol;
pub mod queue;
mod random;
pub mod runtime;
pub mod simple;
mod sync;

// The test bench.
#[cfg(feature = "workbench")]
pub mod challenge;
#[cfg(feature = "workbench")]
pub mod check;
#[cfg(feature = "workbench")]
pub mod cluster;
#[cfg(feature = "workbench")]
pub mod frontier;
#[cfg(feature = "workbench")]
pub mod history;
#[cfg(feature = "workbench")]
pub mod load;
#[cfg(feature = "workbench")]
pub mod report;
#[cfg(feature = "workbench")]
pub mod seeds;
#[cfg(feature = "workbench")]
pub mod service;
#[cfg(feature = "workbench")]
pub mod simulate;
#[cfg(feature = "workbench")]
pub mod workload;

#[cfg(feature = "workbench")]
pub use self::seeds::check;
