//! Counts of messages.

use serde::Serialize;

use super::names::Endpoint;

/// Counts of messages, as Maelstrom counts them: at the moment they are sent, lost or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
}

/// Counts by who was at the ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// A client at one end.
    pub clients: Counts,
    /// Nodes at both ends.
    pub servers: Counts,
    /// Messages that arrived where nothing from their sender was taken.
    pub cut_off: u64,
    /// Messages that were lost on the way, or arrived at a node that was dead.
    pub lost: u64,
}

/// Counts as they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetStats {
    /// Messages sent.
    pub send_count: u64,
    /// Messages received.
    pub recv_count: u64,
    /// Distinct messages: all that were sent.
    pub msg_count: u64,
    /// Distinct messages for each operation of a client; 0 if there was none.
    pub msgs_per_op: f64,
}

impl Counts {
    /// The report, given the number of operations that clients invoked.
    #[must_use]
    pub(crate) fn stats(self, op_count: usize) -> NetStats {
        let msgs_per_op = if op_count == 0 { 0.0 } else { self.sent as f64 / op_count as f64 };
        NetStats { send_count: self.sent, recv_count: self.received, msg_count: self.sent, msgs_per_op }
    }
}

impl Traffic {
    /// Both kinds together.
    #[must_use]
    pub(crate) fn all(&self) -> Counts {
        let Traffic { clients, servers, .. } = self;
        Counts { sent: clients.sent + servers.sent, received: clients.received + servers.received }
    }

    pub(super) fn of(&mut self, src: Endpoint, dest: Endpoint) -> &mut Counts {
        if src.is_client() || dest.is_client() { &mut self.clients } else { &mut self.servers }
    }
}
