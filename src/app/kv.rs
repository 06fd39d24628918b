//! Maelstrom's key-value stores.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::{Context, Error, Rpc};
use crate::protocol::ErrorCode;

/// A key-value store, shared by all nodes. Keys and values are any JSON.
pub struct Kv<S> {
    context: Context<S>,
    service: &'static str,
    timeout: Option<Duration>,
}

impl<S> fmt::Debug for Kv<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv").field("service", &self.service).finish_non_exhaustive()
    }
}

impl<S: Send + 'static> Kv<S> {
    pub(super) fn new(context: Context<S>, service: &'static str) -> Self {
        Self { context, service, timeout: None }
    }

    /// Waits so long for each answer; a second if nothing is said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn rpc(&self, body: Json) -> Rpc<S> {
        let rpc = self.context.rpc(self.service, body);
        match self.timeout {
            Some(timeout) => rpc.timeout(timeout),
            None => rpc,
        }
    }

    fn of_another_type(&self, error: &serde_json::Error) -> Error {
        Error::crash(format!("what {} holds is something else: {error}", self.service))
    }

    /// What a key holds; none if it holds nothing.
    ///
    /// # Errors
    /// If there is no answer, or the value is of another type.
    pub async fn read<T: DeserializeOwned>(&self, key: impl Serialize) -> Result<Option<T>, Error> {
        match self.rpc(json!({ "type": "read", "key": key })).await {
            Ok(mut answer) => {
                let value = serde_json::from_value(answer["value"].take());
                value.map(Some).map_err(|error| self.of_another_type(&error))
            }
            Err(error) if error.is(ErrorCode::KeyDoesNotExist) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets a key hold a value.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn write(&self, key: impl Serialize, value: impl Serialize) -> Result<(), Error> {
        self.rpc(json!({ "type": "write", "key": key, "value": value })).await.map(drop)
    }

    /// Lets a key hold a value if it holds that other one, or, where `from` is none, nothing or null. False if it does not.
    ///
    /// # Errors
    /// If there is no answer: then nobody knows whether it happened. And if a key that holds nothing can't be made to hold something so,
    /// as in lww-kv: [`write`](Self::write) does.
    pub async fn cas<T: Serialize>(
        &self,
        key: impl Serialize,
        from: Option<T>,
        to: T,
    ) -> Result<bool, Error> {
        let create = from.is_none();
        let from = from.map_or(Ok(Json::Null), |from| serde_json::to_value(from));
        let from = from.map_err(|error| Error::crash(error.to_string()))?;
        let body = json!({
            "type": "cas", "key": key, "from": from, "to": to, "create_if_not_exists": create,
        });
        match self.rpc(body).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(ErrorCode::PreconditionFailed) => Ok(false),
            Err(error) if error.is(ErrorCode::KeyDoesNotExist) && !create => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes what a key holds, again and again until nobody has come in between; what it holds then. The change is told
    /// none if the key holds nothing.
    ///
    /// # Errors
    /// As [`cas`](Self::cas).
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: impl Serialize + Clone,
        change: impl Fn(Option<&T>) -> T,
    ) -> Result<T, Error> {
        loop {
            // As it was read: the same value may be written in several ways.
            let from: Option<Json> = self.read(key.clone()).await?;
            let known = from
                .as_ref()
                .map(T::deserialize)
                .transpose()
                .map_err(|error| self.of_another_type(&error))?;
            let to = change(known.as_ref());
            let text = serde_json::to_value(&to).map_err(|error| Error::crash(error.to_string()))?;
            if self.cas(key.clone(), from, text).await? {
                return Ok(to);
            }
        }
    }
}
