//! Errors in words, for the author of the node: the first of each type, with who did what and when.

use crate::check::Finding;
use crate::check::kafka::errors::Cases;
use crate::check::kafka::hints as hint;
use crate::check::kafka::reading::{Message, Op, OpId};
use crate::check::kafka::steps::Pair;
use crate::check::kafka::{Analysis, Cycle, CycleStep, Errors};
use crate::history::Process;

/// Nanoseconds in a millisecond.
const MILLISECOND: f64 = 1e6;
/// The most messages, offsets or keys named in a sentence.
const NAMED_MAX: usize = 4;

/// One finding for each type of error that is not allowed, worst first: what was made up or lost, what is in
/// the wrong place, what was read in the wrong order, what was not read.
pub(super) fn findings(analysis: &Analysis<'_>, errors: &Errors) -> Vec<Finding> {
    let words = Words { analysis };
    let Analysis { marks, steps, .. } = analysis;
    let all = [
        words.malformed(errors),
        words.phantom(),
        words.aborted(),
        words.cycle(&errors.g1c, hint::CYCLE),
        words.cycle(&errors.g1c_realtime, hint::CYCLE_IN_TIME),
        words.precommitted(),
        words.lost(),
        words.inconsistent(),
        marks.duplicates.first().map(|&message| words.duplicate(message)),
        words.send_back(&steps.between_sends.back),
        words.send_back(&steps.within_sends.back),
        words.poll_skip(&steps.between_polls.skips),
        words.poll_skip(&steps.within_polls.skips),
        words.poll_back(&steps.between_polls.back),
        words.poll_back(&steps.within_polls.back),
        words.unseen(errors),
    ];
    all.into_iter().flatten().collect()
}

/// Added to a step whose messages are at several offsets, or at offsets with several messages.
const CAVEAT: &str = " The log is ambiguous here, so this may be a mere consequence of duplicates or \
    inconsistent offsets: look into these first.";

struct Words<'a> {
    analysis: &'a Analysis<'a>,
}

/// How a message was seen at an offset.
struct Sighting {
    op: OpId,
    sent: bool,
}

impl Words<'_> {
    fn malformed(&self, errors: &Errors) -> Option<Finding> {
        let first = errors.malformed.errs.first()?;
        let event = &self.analysis.history.events()[first.op];
        let (who, when) = (who(event.process), self.ms(first.op));
        let what = format!("In {who}'s {} at {when:.1} ms: {}.", event.f, first.what);
        let count = errors.malformed.count;
        Some(Finding { what, count, events: vec![first.op], hint: hint::MALFORMED.to_owned() })
    }

    fn phantom(&self) -> Option<Finding> {
        let found = &self.analysis.marks.phantoms;
        let &(reader, message) = found.first()?;
        let what =
            format!("{} showed {}, which nobody ever sent.", self.capital(reader), self.message(message));
        Some(self.finding(what, found.len(), &[reader], hint::PHANTOM))
    }

    fn aborted(&self) -> Option<Finding> {
        let found = &self.analysis.marks.aborted;
        let &(reader, message) = found.first()?;
        let writer = self.analysis.fates.get(message).writer?;
        let what = format!(
            "{} showed {}, although {} had failed.",
            self.capital(reader),
            self.message(message),
            self.op(writer)
        );
        Some(self.finding(what, found.len(), &[writer, reader], hint::ABORTED))
    }

    fn cycle(&self, cases: &Cases<Cycle>, hint: &str) -> Option<Finding> {
        let cycle = cases.errs.first()?;
        let ops: Vec<OpId> = cycle.cycle.iter().filter_map(|&event| self.op_of(event)).collect();
        let what = match (&cycle.steps[..], &ops[..]) {
            ([CycleStep::Wr { key, value }, CycleStep::Realtime], &[writer, reader, ..]) => format!(
                "{} showed message {value} of key {key:?}, but {} began only later.",
                self.capital(reader),
                self.op(writer)
            ),
            (steps, ops) => self.circle(steps, ops),
        };
        Some(self.finding(what, cases.count, &ops[..ops.len().saturating_sub(1)], hint))
    }

    fn circle(&self, steps: &[CycleStep], ops: &[OpId]) -> String {
        let because = steps.iter().zip(ops.windows(2)).map(|(step, pair)| match step {
            CycleStep::Wr { key, value } => {
                let message = format!("message {value} of key {key:?}");
                format!("{}, and {} showed it", self.sending(pair[0], &message), self.op(pair[1]))
            }
            CycleStep::Realtime => {
                format!("{} had ended when {} began", self.op(pair[0]), self.op(pair[1]))
            }
        });
        let because = because.collect::<Vec<_>>().join("; ");
        format!("Each of these operations would have to come before the next: {because}.")
    }

    fn precommitted(&self) -> Option<Finding> {
        let found = &self.analysis.marks.precommitted;
        let &(op, message) = found.first()?;
        let what = format!("{} polled {}, which it sends itself.", self.capital(op), self.message(message));
        Some(self.finding(what, found.len(), &[op], hint::PRECOMMITTED))
    }

    fn lost(&self) -> Option<Finding> {
        let found = &self.analysis.marks.lost;
        let lost = found.first()?;
        let mut ops = vec![lost.writer];
        let mut what = capital(&self.sending(lost.writer, &self.placed(lost.message))) + ".";
        if let Some((reader, later)) = self.analysis.reader_above(lost) {
            ops.push(reader);
            what += &format!(
                " {} showed {}, so polls came as far as that, but no poll ever showed {}.",
                self.capital(reader),
                self.placed(later),
                self.analysis.value(lost.message)
            );
        }
        Some(self.finding(what, found.len(), &ops, hint::LOST))
    }

    fn inconsistent(&self) -> Option<Finding> {
        let found = &self.analysis.marks.inconsistent;
        let &(key, index) = found.first()?;
        let slot = &self.analysis.logs.slots(key)[index];
        let seen = slot.messages.iter().take(NAMED_MAX).filter_map(|&message| {
            let sighting = self.sighting(message, slot.offset)?;
            let verb = if sighting.sent { "got it for" } else { "showed there" };
            Some((sighting.op, format!("{} {verb} {}", self.op(sighting.op), self.analysis.value(message))))
        });
        let (ops, seen): (Vec<OpId>, Vec<String>) = seen.unzip();
        let name = &self.analysis.reading.keys[key];
        let what = format!(
            "Offset {} of key {name:?} has {} different messages: {}.",
            slot.offset,
            slot.messages.len(),
            seen.join("; ")
        );
        Some(self.finding(what, found.len(), &ops, hint::INCONSISTENT))
    }

    fn duplicate(&self, message: Message) -> Finding {
        let mut ops = Vec::new();
        let mut seen = Vec::new();
        for offset in self.analysis.offsets(message).take(NAMED_MAX) {
            let Some(sighting) = self.sighting(message, offset) else { continue };
            let verb = if sighting.sent { "got" } else { "showed it at" };
            seen.push(format!("{} {verb} offset {offset}", self.op(sighting.op)));
            ops.push(sighting.op);
        }
        let copies = self.analysis.copies(message);
        let what =
            format!("{} is in the log {copies} times: {}.", self.capital_message(message), seen.join("; "));
        self.finding(what, self.analysis.marks.duplicates.len(), &ops, hint::DUPLICATE)
    }

    fn send_back(&self, found: &[Pair]) -> Option<Finding> {
        let (pair, caveat) = self.clearest(found)?;
        let [former, latter] = [0, 1].map(|at| self.sending(pair.ops[at], &self.one_of(pair, at)));
        let what = format!("{}; then {latter}.{caveat}", capital(&former));
        Some(self.finding(what, found.len(), &pair.ops, hint::SEND_BACK))
    }

    fn poll_skip(&self, found: &[Pair]) -> Option<Finding> {
        let (pair, caveat) = self.clearest(found)?;
        let named = |message| {
            let offset = self.analysis.offsets(message).next().unwrap_or_default();
            format!("{} (offset {offset})", self.analysis.value(message))
        };
        // Where a message is in the log more than once, its copies lie between as well.
        let others: Vec<_> =
            self.analysis.skipped(pair).filter(|message| !pair.messages.contains(message)).collect();
        let mut skipped =
            others.iter().take(NAMED_MAX).map(|&message| named(message)).collect::<Vec<_>>().join(", ");
        if others.is_empty() {
            skipped = "another copy of one of the two".to_owned();
        } else if others.len() > NAMED_MAX {
            skipped += &format!(" and {} more", others.len() - NAMED_MAX);
        }
        let what = format!("{}, and left out {skipped}.{caveat}", self.successive(pair));
        let within = pair.ops[0] == pair.ops[1];
        Some(self.finding(what, found.len(), &pair.ops, if within { hint::SKIP_WITHIN } else { hint::SKIP }))
    }

    fn poll_back(&self, found: &[Pair]) -> Option<Finding> {
        let (pair, caveat) = self.clearest(found)?;
        let where_to = if pair.messages[0] == pair.messages[1] { "the same again" } else { "a step back" };
        let what = format!("{}: {where_to}.{caveat}", self.successive(pair));
        let within = pair.ops[0] == pair.ops[1];
        Some(self.finding(what, found.len(), &pair.ops, if within { hint::BACK_WITHIN } else { hint::BACK }))
    }

    fn successive(&self, pair: &Pair) -> String {
        let [former, latter] = [0, 1].map(|at| self.one_of(pair, at));
        match pair.ops {
            [one, other] if one == other => {
                format!("{} showed {former} and right after it {latter}", self.capital(one))
            }
            [one, other] => {
                let (one, other) = (self.capital(one), self.op(other));
                format!("{one} ended with {former}; {other}, the next to show this key, began with {latter}")
            }
        }
    }

    /// The first pair of messages each of which has one offset for itself. If there is none, the first, with
    /// a caveat: then the order of messages is a matter of choice.
    fn clearest<'p>(&self, found: &'p [Pair]) -> Option<(&'p Pair, &'static str)> {
        let clear = |&message: &Message| {
            self.analysis.logs.is_clear(self.analysis.reading.messages[message].key, message)
        };
        match found.iter().find(|pair| pair.messages.iter().all(clear)) {
            Some(pair) => Some((pair, "")),
            None => found.first().map(|pair| (pair, CAVEAT)),
        }
    }

    /// A message of a pair, with the offset at which it was sent or polled.
    fn one_of(&self, pair: &Pair, at: usize) -> String {
        match pair.offsets[at] {
            Some(offset) => self.at_offset(pair.messages[at], &format!("offset {offset}")),
            None => self.placed(pair.messages[at]),
        }
    }

    fn unseen(&self, errors: &Errors) -> Option<Finding> {
        let unseen = errors.unseen.as_ref()?;
        let mut fates = self.analysis.fates.iter();
        let (message, fate) = fates.find(|(_, fate)| fate.sent_ok && fate.ok_reader.is_none())?;
        let writer = fate.writer?;
        let keys = unseen.unseen.iter().take(NAMED_MAX).map(|(key, count)| format!("{count} of key {key:?}"));
        let mut keys = keys.collect::<Vec<_>>().join(", ");
        if unseen.unseen.len() > NAMED_MAX {
            keys += &format!(" and others of {} more keys", unseen.unseen.len() - NAMED_MAX);
        }
        let what = format!(
            "{}, with success, and nobody polled it until the end, at {:.1} ms. Such messages: {keys}.",
            capital(&self.sending(writer, &self.placed(message))),
            unseen.time as f64 / MILLISECOND
        );
        Some(self.finding(what, unseen.unseen.values().sum(), &[writer], hint::UNSEEN))
    }

    fn finding(&self, what: String, count: usize, ops: &[OpId], hint: &str) -> Finding {
        let ops = ops.iter().map(|&op| &self.analysis.reading.ops[op]);
        let mut events: Vec<usize> = ops.flat_map(|op| op.invoked.into_iter().chain(op.completed)).collect();
        events.sort_unstable();
        events.dedup();
        Finding { what, count, events, hint: hint.to_owned() }
    }

    /// The first operation from which it is known that a message is at an offset.
    fn sighting(&self, message: Message, offset: u64) -> Option<Sighting> {
        let fates = &self.analysis.fates;
        self.analysis.reading.ops.iter().enumerate().find_map(|(op, entry)| {
            let mut sends = entry.sends().iter();
            let mut polled = entry.polls().iter().flat_map(|poll| &poll.messages);
            let sent = sends.any(|send| send.message == message && send.offset == Some(offset))
                && fates.must_have_committed(entry);
            let seen = sent || polled.any(|&entry| entry == (Some(offset), message));
            seen.then_some(Sighting { op, sent })
        })
    }

    /// "client 3's poll (12.0 to 15.1 ms)".
    fn op(&self, op: OpId) -> String {
        let entry = &self.analysis.reading.ops[op];
        let name = &self.analysis.history.events()[entry.event()].f;
        format!("{}'s {name} {}", who(entry.process), self.when(op))
    }

    /// "client 3 sent message 5 of key "0" (12.0 to 15.1 ms)".
    fn sending(&self, op: OpId, message: &str) -> String {
        format!("{} sent {message} {}", who(self.analysis.reading.ops[op].process), self.when(op))
    }

    fn when(&self, op: OpId) -> String {
        let Op { invoked, completed, .. } = self.analysis.reading.ops[op];
        match (invoked.map(|begun| self.ms(begun)), completed.map(|ended| self.ms(ended))) {
            (Some(begun), Some(ended)) => format!("({begun:.1} to {ended:.1} ms)"),
            (Some(begun), None) => format!("(from {begun:.1} ms on, without an answer)"),
            (None, Some(ended)) => format!("(until {ended:.1} ms)"),
            (None, None) => String::new(),
        }
    }

    fn capital(&self, op: OpId) -> String {
        capital(&self.op(op))
    }

    /// "message 5 of key "0"".
    fn message(&self, message: Message) -> String {
        format!("message {} of key {:?}", self.analysis.value(message), self.analysis.key(message))
    }

    fn capital_message(&self, message: Message) -> String {
        capital(&self.message(message))
    }

    /// "message 5 at offset 3 of key "0"".
    fn placed(&self, message: Message) -> String {
        let offsets: Vec<String> =
            self.analysis.offsets(message).take(NAMED_MAX).map(|offset| offset.to_string()).collect();
        let place = match offsets.as_slice() {
            [] => "an unknown offset".to_owned(),
            [one] => format!("offset {one}"),
            several => format!("offsets {}", several.join(", ")),
        };
        self.at_offset(message, &place)
    }

    fn at_offset(&self, message: Message, place: &str) -> String {
        format!("message {} at {place} of key {:?}", self.analysis.value(message), self.analysis.key(message))
    }

    fn ms(&self, event: usize) -> f64 {
        self.analysis.history.events()[event].time.as_nanos() as f64 / MILLISECOND
    }

    fn op_of(&self, event: usize) -> Option<OpId> {
        self.analysis.reading.ops.iter().position(|op| op.event() == event)
    }
}

fn who(process: Process) -> String {
    match process {
        Process::Client(number) => format!("client {number}"),
        Process::PasserBy(number) => format!("passer-by {number}"),
        Process::Nemesis => "the nemesis".to_owned(),
    }
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
