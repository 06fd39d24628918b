//! Services that nodes may use, each a node of the network by its name: key-value stores of three kinds, and timestamps.
//!
//! A service is one file and one line in [`SERVICES`].

mod kv;
mod lin_kv;
mod lin_tso;
mod lww_kv;
mod seq_kv;

use std::fmt::Debug;

use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

/// A service's side of a conversation.
pub(crate) trait Service: Debug + Send {
    /// Answers a request's body from `client`, by its name: with a body without `in_reply_to`, or not at all if there is no
    /// request of that type.
    fn answer(&mut self, client: &str, request: &Json, rng: &mut Pcg64) -> Option<Json>;
}

/// A service in the state in which a run finds it.
type New = fn() -> Box<dyn Service>;

/// All services, by their names in the network.
pub(crate) const SERVICES: [(&str, New); 4] = [
    ("lin-kv", || Box::<lin_kv::LinKv>::default()),
    ("seq-kv", || Box::<seq_kv::SeqKv>::default()),
    ("lww-kv", || Box::<lww_kv::LwwKv>::default()),
    ("lin-tso", || Box::<lin_tso::LinTso>::default()),
];

/// All services of a run.
#[derive(Debug)]
pub(crate) struct Services {
    services: Vec<Box<dyn Service>>,
    rng: Pcg64,
}

impl Services {
    /// All of them, as a run finds them.
    #[must_use]
    pub(crate) fn new(rng: Pcg64) -> Self {
        Self { services: SERVICES.iter().map(|(_, new)| new()).collect(), rng }
    }

    /// The place of the service of that name in [`SERVICES`].
    #[must_use]
    pub(crate) fn find(name: &str) -> Option<usize> {
        SERVICES.iter().position(|(known, _)| *known == name)
    }

    /// The body that the service at that place answers a request of `client` with, if it answers.
    pub(crate) fn answer(&mut self, service: usize, client: &str, request: &str) -> Option<String> {
        let request: Json = serde_json::from_str(request).ok()?;
        let mut answer = self.services[service].answer(client, &request, &mut self.rng)?;
        if let Some(id) = request.get("msg_id").filter(|id| !id.is_null()) {
            answer["in_reply_to"] = id.clone();
        }
        Some(answer.to_string())
    }
}

fn error(code: u32, text: impl Into<String>) -> Json {
    json!({ "type": "error", "code": code, "text": text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn answers_name_the_request_and_unknown_requests_have_none() {
        let mut services = Services::new(Pcg64::seed_from_u64(1));
        let lin_kv = Services::find("lin-kv").expect("it is there");
        let answer = services.answer(lin_kv, "n1", r#"{"type":"write","key":1,"value":2,"msg_id":7}"#);
        assert_eq!(answer.as_deref(), Some(r#"{"in_reply_to":7,"type":"write_ok"}"#));
        assert_eq!(services.answer(lin_kv, "n1", r#"{"type":"sing","msg_id":7}"#), None);
        assert_eq!(services.answer(lin_kv, "n1", "7"), None);
        assert_eq!(Services::find("n1"), None);
    }
}
