//! Reads histories that were stored: lines of JSON, as natter writes them, or EDN, as Jepsen does.

use std::collections::HashMap;
use std::io::{self, BufRead};

use serde_json::{Map, Value as Json};
use thiserror::Error;

use super::edn::{self, EdnError};
use super::{Event, EventKind, Flag, History, OpValue, Process, Shown};
use crate::node::Time;
use crate::protocol::Value;

/// Why a stored history can't be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A line, or an operation, is not as it should be.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1 on.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It can't be read at all.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<EdnError> for ReadError {
    fn from(EdnError { line, why }: EdnError) -> Self {
        ReadError::Line { line, why }
    }
}

/// What an event must have: everything else is taken for what it is by default.
const NEEDED: &str = "an event has `type`, `process` and `f`, and should have `index`, `time` and `value`";

/// Puts the events of a stored history together.
#[derive(Debug, Default)]
pub(super) struct Reader {
    history: History,
    /// Whether reads show sets.
    reads_sets: bool,
    /// The node of each name.
    nodes: HashMap<String, usize>,
    /// What reads showed that later ones may be told from, by the index in the file. A read is used once.
    shown: HashMap<u64, Vec<Value>>,
}

impl History {
    /// Reads events, each a line of JSON with the fields `index`, `time` (in nanoseconds), `process`, `type`, `f` and `value`,
    /// and perhaps `node`, `error` and `final?`. Where `reads_sets` is set, what reads show are sets.
    ///
    /// # Errors
    /// If a line is no event. The last one alone is left out if it is cut off: natter was killed, or the disk was full.
    pub fn from_json_lines(mut lines: impl BufRead, reads_sets: bool) -> Result<Self, ReadError> {
        let mut reader = Reader { reads_sets, ..Reader::default() };
        let (mut number, mut line) = (0, String::new());
        while {
            line.clear();
            lines.read_line(&mut line)? > 0
        } {
            number += 1;
            // A byte order mark.
            let text = line.trim_start_matches('\u{feff}').trim();
            if text.is_empty() {
                continue;
            }
            let event: Result<Json, serde_json::Error> = serde_json::from_str(text);
            if event.as_ref().is_err_and(serde_json::Error::is_eof) && !line.ends_with('\n') {
                reader.history.cut_short = true;
                break;
            }
            let taken = event.map_err(|error| error.to_string()).and_then(|event| reader.take(event));
            taken.map_err(|why| ReadError::Line { line: number, why })?;
        }
        Ok(reader.history)
    }

    /// Reads events from EDN: maps with the keys of Jepsen, one after the other or in one vector.
    ///
    /// # Errors
    /// If something is no event; nothing is left out.
    pub fn from_edn(text: &str, reads_sets: bool) -> Result<Self, ReadError> {
        let mut reader = Reader { reads_sets, ..Reader::default() };
        for (line, form) in edn::forms(text)? {
            let events = match form {
                Json::Array(events) => events,
                event => vec![event],
            };
            for event in events {
                reader.take(event).map_err(|why| ReadError::Line { line, why })?;
            }
        }
        Ok(reader.history)
    }
}

impl Reader {
    fn take(&mut self, event: Json) -> Result<(), String> {
        let Json::Object(mut fields) = event else { return Err(format!("not an event: {NEEDED}")) };
        let process = process(fields.get("process"))?;
        let kind = kind(fields.get("type"))?;
        let f = fields.get("f").and_then(Json::as_str).ok_or_else(|| format!("no `f`: {NEEDED}"))?.to_owned();
        let index = fields.get("index").and_then(Json::as_u64);
        let time = fields.get("time").and_then(Json::as_u64).unwrap_or_default();
        if let Some(node) = fields.get("node").and_then(Json::as_str) {
            self.talks_to(process, node);
        }
        let value = fields.remove("value").unwrap_or(Json::Null);
        let value = if self.reads_sets && f == "read" && kind == EventKind::Ok {
            OpValue::Set(self.shown(index, value)?)
        } else {
            op_value(value)
        };
        self.history.append(Event {
            index: 0,
            time: Time::from_nanos(time),
            process,
            kind,
            f: f.into(),
            value,
            error: fields.get("error").filter(|error| !error.is_null()).map(text),
            flag: flag(&fields),
        });
        Ok(())
    }

    fn talks_to(&mut self, process: Process, name: &str) {
        let next = self.nodes.len();
        let node = *self.nodes.entry(name.to_owned()).or_insert(next);
        if node == next {
            self.history.names.push(name.to_owned());
        }
        self.history.talks_to(process, node);
    }

    /// What a read shows, told from the empty set.
    fn shown(&mut self, index: Option<u64>, value: Json) -> Result<Shown, String> {
        let whole = match value {
            Json::Null => Shown::default(),
            Json::Array(elements) => {
                let (values, strange) = integers(elements);
                Shown::whole(values, strange)
            }
            Json::Object(difference) => self.difference(difference)?,
            other => return Err(format!("a read of a set shows a list, and not {other}")),
        };
        if let Some(index) = index {
            self.shown.insert(index, whole.added.clone());
        }
        Ok(whole)
    }

    /// A read that is told from an earlier one.
    fn difference(&mut self, difference: Map<String, Json>) -> Result<Shown, String> {
        let list = |field: &str| match difference.get(field) {
            None => Ok(Vec::new()),
            Some(Json::Array(list)) => Ok(list.clone()),
            Some(other) => Err(format!("`{field}` of a read is a list, and not {other}")),
        };
        let before = match difference.get("since").map(|since| since.as_u64().ok_or(since)) {
            None => Vec::new(),
            Some(Err(since)) => return Err(format!("`since` is the index of an event, and not {since}")),
            Some(Ok(since)) => self.shown.remove(&since).ok_or_else(|| {
                format!("it is told from the read of index {since}, which isn't there, or which another one was told from")
            })?,
        };
        let (mut added, mut removed) = (integers(list("added")?).0, integers(list("removed")?).0);
        added.sort_unstable();
        removed.sort_unstable();
        let values = super::shown::apply(&before, &added, &removed);
        let mut shown = Shown::whole(values, list("strange")?);
        for pair in list("repeated")? {
            let repeated = pair[0].as_i64().zip(pair[1].as_u64());
            let (value, times) =
                repeated.ok_or_else(|| format!("`repeated` is a list of pairs, and not {pair}"))?;
            shown.repeated.push((value, times as usize));
        }
        Ok(shown)
    }
}

fn integers(elements: Vec<Json>) -> (Vec<Value>, Vec<Json>) {
    let (integers, strange): (Vec<Json>, Vec<Json>) = elements.into_iter().partition(Json::is_i64);
    (integers.iter().filter_map(Json::as_i64).collect(), strange)
}

fn op_value(value: Json) -> OpValue {
    match value {
        Json::Null => OpValue::None,
        Json::Number(number) if number.is_i64() => OpValue::Int(number.as_i64().unwrap_or_default()),
        other => OpValue::Json(other),
    }
}

fn process(process: Option<&Json>) -> Result<Process, String> {
    match process {
        Some(Json::Number(number)) => {
            let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
            number.map(Process::Client).ok_or_else(|| "`process` is not a natural number".to_owned())
        }
        Some(Json::String(name)) => {
            let passer_by = name.strip_prefix("passer-by ").and_then(|number| number.parse().ok());
            Ok(passer_by.map_or(Process::Nemesis, Process::PasserBy))
        }
        _ => Err(format!("no `process`: {NEEDED}")),
    }
}

fn kind(kind: Option<&Json>) -> Result<EventKind, String> {
    match kind.and_then(Json::as_str) {
        Some("invoke") => Ok(EventKind::Invoke),
        Some("ok") => Ok(EventKind::Ok),
        Some("fail") => Ok(EventKind::Fail),
        Some("info") => Ok(EventKind::Info),
        Some(other) => Err(format!("`type` is invoke, ok, fail or info, and not {other:?}")),
        None => Err(format!("no `type`: {NEEDED}")),
    }
}

fn flag(fields: &Map<String, Json>) -> Option<Flag> {
    [Flag::Final, Flag::SeekToBeginning]
        .into_iter()
        .find(|flag| fields.get(flag.name()).is_some_and(|set| *set == Json::Bool(true)))
}

fn text(error: &Json) -> String {
    error.as_str().map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"index":0,"time":5,"process":0,"type":"invoke","f":"read","value":null,"node":"a"}
{"index":1,"time":6,"process":0,"type":"ok","f":"read","value":[3,1,"x",3],"node":"a"}

{"index":2,"time":7,"process":"nemesis","type":"info","f":"kill","value":"a"}
{"index":3,"time":8,"process":4,"type":"ok","f":"read","value":{"since":1,"added":[2],"removed":[3]},"final?":true}
"#;

    #[test]
    fn what_is_written_is_read() {
        let history = History::from_json_lines(LINES.as_bytes(), true).expect("a history");
        let events = history.events();
        assert_eq!(history.name_of(Process::Client(0)), "a (process 0)");
        assert_eq!(events[1].value, OpValue::Set(Shown::whole(vec![3, 1, 3], vec!["x".into()])));
        assert_eq!((events[2].process, events[2].time.as_nanos()), (Process::Nemesis, 7));
        assert_eq!(history.values_shown(3), Some(vec![1, 2]));
        assert_eq!(events[3].flag, Some(Flag::Final));
        let again: Vec<String> =
            events.iter().map(|event| serde_json::to_string(event).expect("serializable")).collect();
        let again = History::from_json_lines(again.join("\n").as_bytes(), true).expect("a history");
        assert_eq!(again.events(), events);
    }

    #[test]
    fn a_last_line_that_is_cut_off_is_left_out_and_any_other_is_an_error() {
        let cut = LINES.trim_end();
        for end in [1, 10, 50] {
            let text = &cut[..cut.len() - end];
            let history = History::from_json_lines(text.as_bytes(), true).expect("a history");
            assert_eq!((history.events().len(), history.is_cut_short()), (3, true), "{end}");
            let line = format!("{text}\n");
            assert!(History::from_json_lines(line.as_bytes(), true).is_err(), "{end}");
        }
        let whole = History::from_json_lines(format!("\u{feff}{cut}").as_bytes(), true).expect("a history");
        assert_eq!((whole.events().len(), whole.is_cut_short()), (4, false));
    }

    #[test]
    fn edn_is_read_alike() {
        let text = r#"
            {:index 0, :time 5, :process 0, :type :invoke, :f :txn, :value [[:r 3 nil] [:append 3 4]]}
            #jepsen.history.Op{:index 1 :time 6 :process 0 :type :info :f :txn :value nil :error :net-timeout}
            {:process :nemesis :type :info :f :start-partition :value [:isolated {"n1" #{"n2"}}]}"#;
        let history = History::from_edn(text, false).expect("a history");
        let events = history.events();
        assert_eq!(events[0].value.to_json().to_string(), r#"[["r",3,null],["append",3,4]]"#);
        assert_eq!((&*events[1].f, events[1].error.as_deref()), ("txn", Some("net-timeout")));
        assert_eq!(events[2].process, Process::Nemesis);
        let vector = format!("[{text}]");
        assert_eq!(History::from_edn(&vector, false).expect("a history").events(), events);
    }

    #[test]
    fn what_is_no_event_is_told_with_its_line() {
        for (line, named) in [
            ("7", "not an event"),
            ("{", "EOF while"),
            (r#"{"type":"ok","f":"read"}"#, "process"),
            (r#"{"type":"yes","process":1,"f":"read"}"#, "yes"),
            (r#"{"type":"ok","process":-1,"f":"read"}"#, "natural"),
            (r#"{"type":"ok","process":1}"#, "`f`"),
            (r#"{"type":"ok","process":1,"f":"read","value":7}"#, "a list"),
            (r#"{"type":"ok","process":1,"f":"read","value":{"since":9}}"#, "index 9"),
            (r#"{"type":"ok","process":1,"f":"read","value":{"repeated":[7]}}"#, "pairs"),
        ] {
            let error = History::from_json_lines(format!("\n{line}\n").as_bytes(), true).expect_err("wrong");
            let told = error.to_string();
            assert!(told.starts_with("line 2: ") && told.contains(named), "{line}: {told}");
        }
        let error = History::from_edn("{:type :ok}\n{:type", false).expect_err("wrong");
        assert!(error.to_string().starts_with("line 2"), "{error}");
    }
}
