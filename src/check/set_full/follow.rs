//! Follows every element of a set through a history.
//!
//! Reads are kept as differences ([`Shown`]), and are followed as such: an element costs something when a read begins or
//! ceases to show it, not at each read. The reads of one node make a *line*, each told from the one before it. In
//! between two changes all reads of the line agree about the element, and what counts of them is the one that was invoked
//! last. Changes are always made at the end of a line, so that this is the maximum of a suffix of the line, which a stack of
//! those reads that no later one surpasses gives in logarithmic time. Time in all: changes times the logarithm of the
//! number of reads, and once for each pair of a line and an element.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::At;
use crate::history::{Event, EventKind, History, OpValue, Shown};
use crate::protocol::Value;

/// What is known of one element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) value: Value,
    /// The completion of its addition, or of the first read that shows it, if that is earlier.
    pub(super) known: Option<At>,
    /// The latest invocation of a read that shows it…
    pub(super) last_present: Option<At>,
    /// …and of one that doesn't.
    pub(super) last_absent: Option<At>,
}

/// What reads showed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) elements: Vec<Element>,
    /// Values that a read showed more than once, each with how often at most.
    pub(super) duplicated: BTreeMap<Value, usize>,
    /// What a read showed though nobody had begun to add it, as JSON, each with the index of the first such read.
    pub(super) phantoms: BTreeMap<String, usize>,
}

/// Whether an operation adds to a set: broadcast's and g-set's names for it.
pub(super) fn adds(event: &Event) -> Option<Value> {
    match &event.value {
        OpValue::Int(value) if event.f == "broadcast" || event.f == "add" => Some(*value),
        _ => None,
    }
}

/// Follows every element through the history.
pub(super) fn follow(history: &History) -> Followed {
    let mut follower = Follower::default();
    let mut invoked = HashMap::new();
    for event in history.by_clients() {
        if event.kind == EventKind::Invoke {
            invoked.insert(event.process, event);
            adds(event).into_iter().for_each(|value| follower.begin(value));
            continue;
        }
        let Some(invocation) = invoked.remove(&event.process).filter(|_| event.kind == EventKind::Ok) else {
            continue;
        };
        if let Some(value) = adds(event) {
            follower.know(value, event.into());
        } else if let (true, OpValue::Set(shown)) = (event.f == "read", &event.value) {
            follower.read(event, invocation.into(), shown);
        }
    }
    follower.end()
}

#[derive(Debug, Default)]
struct Follower {
    followed: Followed,
    places: HashMap<Value, usize>,
    lines: Vec<Line>,
    /// The line whose last read has this index.
    by_last_read: HashMap<usize, usize>,
}

impl Follower {
    /// Somebody begins to add a value. An earlier addition of the same value is forgotten.
    fn begin(&mut self, value: Value) {
        let element = Element { value, known: None, last_present: None, last_absent: None };
        let elements = &mut self.followed.elements;
        let place = *self.places.entry(value).or_insert(elements.len());
        match elements.get_mut(place) {
            Some(earlier) => *earlier = element,
            None => elements.push(element),
        }
        self.lines.iter_mut().for_each(|line| line.begin(place, value));
    }

    fn know(&mut self, value: Value, at: At) {
        if let Some(&place) = self.places.get(&value) {
            self.followed.elements[place].known.get_or_insert(at);
        }
    }

    fn read(&mut self, event: &Event, invoked: At, shown: &Shown) {
        let line = shown.since.and_then(|since| self.by_last_read.remove(&since)).unwrap_or_else(|| {
            self.lines.push(Line::new(self.followed.elements.len()));
            self.lines.len() - 1
        });
        self.by_last_read.insert(event.index, line);
        let line = &mut self.lines[line];
        let elements = &mut self.followed.elements;
        for value in &shown.removed {
            match self.places.get(value) {
                Some(&place) => line.change(&mut elements[place], place, false),
                None => {
                    line.strangers.remove(value);
                }
            }
        }
        for value in &shown.added {
            match self.places.get(value) {
                Some(&place) => {
                    elements[place].known.get_or_insert(event.into());
                    line.change(&mut elements[place], place, true);
                }
                None => {
                    line.strangers.insert(*value);
                    self.followed.phantoms.entry(value.to_string()).or_insert(event.index);
                }
            }
        }
        for place in line.were_strangers.drain(..) {
            if line.states[place].present {
                elements[place].known.get_or_insert(event.into());
            }
        }
        for strange in &shown.strange {
            self.followed.phantoms.entry(strange.to_string()).or_insert(event.index);
        }
        for &(value, times) in &shown.repeated {
            let most = self.followed.duplicated.entry(value).or_default();
            *most = times.max(*most);
        }
        line.push(invoked);
    }

    fn end(mut self) -> Followed {
        for line in &self.lines {
            for (place, element) in self.followed.elements.iter_mut().enumerate() {
                line.count(element, line.states[place]);
            }
        }
        self.followed
    }
}

/// The reads of one node, in the order in which they ended.
#[derive(Debug)]
struct Line {
    /// How many there are.
    length: usize,
    /// Of each read that was invoked later than all that ended after it: its place in the line and its invocation.
    latest: Vec<(usize, At)>,
    /// What the reads say of each element, by its place.
    states: Vec<State>,
    /// Values that the last read showed, though nobody had begun to add them.
    strangers: BTreeSet<Value>,
    /// The places of those that somebody has begun to add since.
    were_strangers: Vec<usize>,
}

/// What all reads of a line from one on say of an element.
#[derive(Clone, Copy, Debug)]
struct State {
    from: usize,
    present: bool,
}

impl Line {
    /// A line without reads, when there are so many elements.
    fn new(elements: usize) -> Self {
        let states = vec![State { from: 0, present: false }; elements];
        Self { length: 0, latest: Vec::new(), states, strangers: BTreeSet::new(), were_strangers: Vec::new() }
    }

    /// Somebody begins to add a value: only reads that end from now on count.
    fn begin(&mut self, place: usize, value: Value) {
        let known = self.states.get(place).is_some_and(|state| state.present);
        let present = self.strangers.remove(&value) || known;
        if present {
            self.were_strangers.push(place);
        }
        let state = State { from: self.length, present };
        match self.states.get_mut(place) {
            Some(earlier) => *earlier = state,
            None => self.states.push(state),
        }
    }

    /// The next read says something else of an element than those before it.
    fn change(&mut self, element: &mut Element, place: usize, present: bool) {
        self.count(element, self.states[place]);
        self.states[place] = State { from: self.length, present };
    }

    /// Counts all reads that agree about an element, the last of the line among them.
    fn count(&self, element: &mut Element, State { from, present }: State) {
        let first = self.latest.partition_point(|(place, _)| *place < from);
        let Some(&(_, invoked)) = self.latest.get(first) else { return };
        let last = if present { &mut element.last_present } else { &mut element.last_absent };
        if last.is_none_or(|last| last.index < invoked.index) {
            *last = Some(invoked);
        }
    }

    fn push(&mut self, invoked: At) {
        while self.latest.pop_if(|(_, earlier)| earlier.index < invoked.index).is_some() {}
        self.latest.push((self.length, invoked));
        self.length += 1;
    }
}
