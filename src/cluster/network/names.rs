//! The ends of messages, and their names.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::service::{SERVICES, Services};

/// One end of a message. Nodes have [names](Names), clients are `c0`, `c1`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A node, by index.
    Node(usize),
    /// A client, by number.
    Client(usize),
    /// A service, by its place among [all](SERVICES).
    Service(usize),
}

/// The number that a name consists of after one letter, as Maelstrom writes it: no leading zeros.
fn number(letter: u8, name: &str) -> Option<usize> {
    let digits = name.strip_prefix(char::from(letter))?;
    let canonical = digits == "0" || (digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0'));
    digits.parse().ok().filter(|_| canonical)
}

/// Who is called what. Copies share one table.
#[derive(Clone, Debug)]
pub(crate) struct Names(Arc<Table>);

#[derive(Debug)]
struct Table {
    nodes: Vec<String>,
    by_name: HashMap<String, usize>,
}

impl Names {
    /// Nodes of these names, which differ.
    #[must_use]
    pub(crate) fn new(nodes: Vec<String>) -> Self {
        let by_name = nodes.iter().cloned().enumerate().map(|(index, name)| (name, index)).collect();
        Self(Arc::new(Table { nodes, by_name }))
    }

    /// The name of a node.
    #[must_use]
    pub(crate) fn node(&self, index: usize) -> &str {
        self.0.nodes.get(index).map_or("", String::as_str)
    }

    /// Whose name it is, if it is anybody's: clients of any number have one.
    #[must_use]
    pub(crate) fn find(&self, name: &str) -> Option<Endpoint> {
        let node = self.0.by_name.get(name).map(|&index| Endpoint::Node(index));
        node.or_else(|| number(b'c', name).map(Endpoint::Client))
            .or_else(|| Services::find(name).map(Endpoint::Service))
    }

    /// The name of an end of a message.
    #[must_use]
    pub(crate) fn of(&self, end: Endpoint) -> Cow<'_, str> {
        match end {
            Endpoint::Node(index) => self.node(index).into(),
            Endpoint::Client(number) => format!("c{number}").into(),
            Endpoint::Service(place) => SERVICES[place].0.into(),
        }
    }
}

impl Endpoint {
    pub(crate) fn is_client(self) -> bool {
        matches!(self, Endpoint::Client(_))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Node(index) => write!(f, "n{index}"),
            Endpoint::Client(number) => write!(f, "c{number}"),
            Endpoint::Service(place) => f.write_str(SERVICES[*place].0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_as_they_are_written() {
        let names = Names::new(vec!["n0".to_owned(), "east-1".to_owned()]);
        for name in ["n0", "east-1", "c0", "c107", "lin-kv", "lin-tso"] {
            assert_eq!(names.of(names.find(name).expect("a name")), name);
        }
        for bad in ["", "c", "n1", "c01", "c-1", "c+1", "x1", "cc1", "é1", "c99999999999999999999999"] {
            assert_eq!(names.find(bad), None, "{bad}");
        }
    }
}
