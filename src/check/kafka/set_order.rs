//! Which of several messages at one offset stands for it.
//!
//! The choice is arbitrary, but skips and steps back are counted by it. Jepsen takes the first of a Clojure
//! set, so its counts follow from the order in which such a set is walked: a trie over the hash of the value,
//! five bits a level, lowest bits first. The hash of an integer is Murmur3's of 64 bits, seed 0. With the
//! same choice, the counts are the same. Messages that are no integers come after, as they first appear.

use serde_json::Value as Json;

use crate::check::kafka::reading::{Message, Reading};

/// Bits a level of the trie: a node has up to 32 children.
const LEVEL_BITS: u32 = 5;

/// Sorts messages as a Clojure set would list their values.
pub(super) fn sort(messages: &mut [Message], reading: &Reading) {
    messages.sort_by_key(|&message| (rank(&reading.messages[message].value), message));
}

/// A value's place in a Clojure set: smallest first.
pub(super) fn rank(value: &Json) -> u64 {
    value.as_i64().map_or(u64::MAX, |integer| path(hash(integer)))
}

/// The hash with its groups of five bits in the opposite order, so that the lowest counts most.
fn path(hash: u32) -> u64 {
    (0..u32::BITS.div_ceil(LEVEL_BITS))
        .fold(0, |path, level| path << LEVEL_BITS | u64::from(hash >> (level * LEVEL_BITS) & 31))
}

/// Murmur3 (Austin Appleby), 32 bits, of an integer of 64 bits; 0 for 0, as Clojure has it.
fn hash(integer: i64) -> u32 {
    if integer == 0 {
        return 0;
    }
    let bits = integer as u64;
    let mixed = mix(mix(0, bits as u32), (bits >> 32) as u32) ^ 8;
    let mixed = (mixed ^ mixed >> 16).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
}

fn mix(state: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (state ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known from any Clojure: `(hash 1)` and `(hash 0)`.
    #[test]
    fn integers_hash_as_in_clojure() {
        assert_eq!(hash(1) as i32, 1_392_991_556);
        assert_eq!(hash(0), 0);
    }

    #[test]
    fn lowest_bits_of_a_hash_decide_first() {
        assert!(path(0b00001_00000) < path(0b00000_00001));
    }
}
