//! Whether echoes come back as they were sent.

use serde::Serialize;
use serde_json::Value as Json;

use super::{Finding, Valid};
use crate::history::{EventKind, History};

/// The verdict on echoes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EchoResult {
    /// Whether every request came back as it was.
    pub valid: Valid,
    /// Those that did not.
    pub errors: Vec<WrongEcho>,
}

/// An echo that did not come back as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WrongEcho {
    /// The index of its end in the history.
    pub index: usize,
    /// What was sent.
    pub sent: Json,
    /// What came back; none if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Json>,
    /// Why nothing came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl EchoResult {
    /// In a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let unanswered = self.errors.iter().filter(|wrong| wrong.received.is_none()).count();
        format!(
            "{} came back as something else, {unanswered} did not come back",
            self.errors.len() - unanswered
        )
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn findings(&self, history: &History) -> Vec<Finding> {
        let (other, none): (Vec<&WrongEcho>, Vec<&WrongEcho>) =
            self.errors.iter().partition(|wrong| wrong.received.is_some());
        let who = |wrong: &WrongEcho| history.name_of(history.events()[wrong.index].process);
        let finding = |wrongs: &[&WrongEcho], what: &dyn Fn(&WrongEcho) -> String, hint: &str| {
            let first = wrongs.first()?;
            let (what, events) = (what(first), vec![first.index]);
            Some(Finding { what, count: wrongs.len(), events, hint: hint.to_owned() })
        };
        let differs = finding(
            &other,
            &|wrong| {
                let received = wrong.received.as_ref().unwrap_or(&Json::Null);
                format!("{} was sent {} to echo, and answered {received}.", who(wrong), wrong.sent)
            },
            "An `echo_ok` has the field `echo` of the request that it answers, unchanged.",
        );
        let missing = finding(
            &none,
            &|wrong| {
                let error = wrong.error.as_deref().unwrap_or("no answer");
                format!("{} was sent {} to echo, and there was no echo: {error}.", who(wrong), wrong.sent)
            },
            "",
        );
        differs.into_iter().chain(missing).collect()
    }
}

/// Checks that each completed echo shows what was sent; one that failed does not.
#[must_use]
pub fn echo(history: &History) -> EchoResult {
    let wrong = history
        .completed()
        .filter(|(invoked, done)| done.kind != EventKind::Ok || done.value != invoked.value);
    let errors: Vec<WrongEcho> = wrong
        .map(|(invoked, done)| WrongEcho {
            index: done.index,
            sent: invoked.value.to_json().into_owned(),
            received: (done.kind == EventKind::Ok).then(|| done.value.to_json().into_owned()),
            error: done.error.clone(),
        })
        .collect();
    EchoResult { valid: errors.is_empty().into(), errors }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::history;
    use EventKind::{Info, Invoke, Ok};
    use serde_json::json;

    #[test]
    fn an_echo_must_come_back_as_it_was() {
        let good = [(0, Invoke, "echo", json!("a")), (0, Ok, "echo", json!("a"))];
        assert_eq!(echo(&history(&good)).valid, Valid::True);
        let other = [(0, Invoke, "echo", json!("a")), (0, Ok, "echo", json!("b"))];
        assert_eq!(echo(&history(&other)).errors.len(), 1);
        let none = [(0, Invoke, "echo", json!("a")), (0, Info, "echo", json!("a"))];
        assert_eq!(echo(&history(&none)).valid, Valid::False);
    }
}
