//! Write a [Maelstrom](https://github.com/jepsen-io/maelstrom) node in thirty lines, and test it in `cargo test`: in virtual time,
//! under faults, thousands of runs a minute.
//!
//! ```
//! use std::process::ExitCode;
//!
//! use natter::app::App;
//! use serde::{Deserialize, Serialize};
//! use serde_json::Value;
//!
//! #[derive(Deserialize, Serialize)]
//! struct Echo {
//!     echo: Value,
//! }
//!
//! fn app() -> App<()> {
//!     App::new(()).on("echo", |_, request: Echo| async { Ok(request) })
//! }
//!
//! fn main() -> ExitCode {
//!     app().run() // a node on stdin and stdout
//! }
//! ```
//!
//! And in a test, a hundred clusters of it:
//!
//! ```
//! # use natter::app::App;
//! # fn app() -> App<()> {
//! #     App::new(()).on("echo", |_, request: serde_json::Map<_, _>| async move {
//! #         Ok(serde_json::json!({ "echo": request["echo"] }))
//! #     })
//! # }
//! # #[cfg(feature = "workbench")]
//! # {
//! use natter::cluster::scenario::FaultKind::Partition;
//! use natter::workload::echo;
//!
//! natter::check(echo::KIND).nodes(3).faults([Partition]).seeds(0..100).run(app);
//! # }
//! ```
//!
//! A run that isn't valid fails the test: natter makes it as small as it can, and says what is wrong and which messages led to it.
//!
//! | you want to | look at |
//! | --- | --- |
//! | write a node | [`app`]: handlers, requests to other nodes, times, key-value stores |
//! | test it with seeds, under faults | [`seeds`](mod@seeds) |
//! | test it with a schedule of your own | [`cluster::scripted`] |
//! | know what clients ask and who judges | [`workload`] |
//! | judge a [history] | [`check`](mod@check) |
//! | write a node without [`app`], as a state machine | [`node`] |
//!
//! `docs/write-a-node.md` in the repository is the way in; its `examples` are nodes for every challenge of Gossip Glomers, each with
//! its test. The program `natter` runs nodes as processes, in any language; the program `natter-node` is a node that spreads values
//! with few messages, in two designs.
//!
//! # Rooms
//!
//! Dependence goes one way, down this list and never up. Modules marked *inside* are public to be read, tested and measured, and may
//! change with any version.
//!
//! | module | owns |
//! | --- | --- |
//! | [`protocol`], inside | messages, parser, encoder, framing |
//! | [`node`] | what a node is: the [`Node`](node::Node) trait, [`Time`](node::Time), the [`Outbox`](node::Outbox) |
//! | [`config`] | natter-node's settings and their defaults |
//! | [`queue`], inside | concurrent containers: seen set and its text, peer queue, in-flight slots, pools |
//! | [`gossip`], inside | the lock-free design |
//! | [`simple`], inside | the simple design: one mutex, one timer a peer |
//! | [`runtime`], inside | threads, clocks and stdio for a node |
//! | [`app`] | a node of your own |
//!
//! The test bench, behind the feature `workbench`, which is on by default:
//!
//! | module | owns |
//! | --- | --- |
//! | [`history`] | what clients and the nemesis did, in order |
//! | [`check`](mod@check) | checkers: from a history to a verdict |
//! | `service` | the services that nodes may use: lin-kv, seq-kv, lww-kv, lin-tso |
//! | [`workload`] | what clients ask, how they take the answers, which checker judges |
//! | [`cluster`] | a run: network, faults, clients; drivers with real processes, in virtual time, and by hand |
//! | [`seeds`](mod@seeds) | a node of your own in virtual time, in `cargo test` |
//! | [`simulate`], inside | thousands of runs of natter's own node in virtual time, checked at every step |
//! | [`report`], inside | what is shown and stored of a run |
//! | [`frontier`], inside | what a latency budget should cost in messages, and what it does |
//! | [`challenge`], inside | the Gossip Glomers challenges and their targets |
//! | [`load`], inside | both designs on the same loads, as processes: time and memory |
//!
//! # What both designs of natter's own node promise
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

// Without the bench, what the page above says of it leads nowhere.
#![cfg_attr(not(feature = "workbench"), allow(rustdoc::broken_intra_doc_links))]

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
pub(crate) mod service;
#[cfg(feature = "workbench")]
pub mod simulate;
#[cfg(feature = "workbench")]
pub mod workload;

#[cfg(feature = "workbench")]
pub use self::seeds::check;
