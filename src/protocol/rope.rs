//! What is to be written, in pieces, so that large ones need not be copied.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;

/// Bytes of its own, and others that it shares, in between.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    own: Vec<u8>,
    /// Each with the number of own bytes before it, in ascending order.
    shared: Vec<(usize, Arc<[u8]>)>,
    shared_len: usize,
}

impl Rope {
    /// Where to append bytes of its own.
    pub fn own_mut(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// Appends bytes without copying them.
    pub fn share(&mut self, bytes: &Arc<[u8]>) {
        self.shared.push((self.own.len(), Arc::clone(bytes)));
        self.shared_len += bytes.len();
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len() + self.shared_len
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, piece by piece; no piece is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut written = 0;
        let shared = self.shared.iter().flat_map(move |(before, bytes)| {
            let own = &self.own[written..*before];
            written = *before;
            [own, bytes]
        });
        let last = self.shared.last().map_or(0, |(before, _)| *before);
        shared.chain(iter::once(&self.own[last..])).filter(|piece| !piece.is_empty())
    }

    /// All bytes in one piece: copied if there is more than one.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        if self.shared.is_empty() {
            (&self.own[..]).into()
        } else {
            self.pieces().collect::<Vec<_>>().concat().into()
        }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.own.clear();
        self.shared.clear();
        self.shared_len = 0;
    }

    /// How much memory an empty one keeps, in bytes.
    pub(crate) fn kept(&self) -> usize {
        self.own.capacity() + self.shared.capacity() * size_of::<(usize, Arc<[u8]>)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_the_order_in_which_they_were_appended() {
        let mut rope = Rope::default();
        assert!(rope.is_empty() && rope.pieces().next().is_none());
        for text in ["one", "two"] {
            rope.share(&Arc::from(text.as_bytes()));
        }
        rope.own_mut().extend_from_slice(b"three");
        rope.share(&Arc::from(&b""[..]));
        rope.own_mut().extend_from_slice(b"four");
        assert_eq!(rope.pieces().collect::<Vec<_>>(), [&b"one"[..], b"two", b"three", b"four"]);
        assert_eq!((&*rope.bytes(), rope.len()), (&b"onetwothreefour"[..], 15));
        rope.clear();
        rope.own_mut().extend_from_slice(b"five");
        assert!(matches!(rope.bytes(), Cow::Borrowed(b"five")));
    }
}
