//! Maelstrom's key-value stores.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::{Context, Error};
use crate::protocol::ErrorCode;

/// A key-value store, shared by all nodes. Keys and values are any JSON.
pub struct Kv<S> {
    context: Context<S>,
    service: &'static str,
}

impl<S> fmt::Debug for Kv<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv").field("service", &self.service).finish_non_exhaustive()
    }
}

impl<S: Send + 'static> Kv<S> {
    pub(super) fn new(context: Context<S>, service: &'static str) -> Self {
        Self { context, service }
    }

    /// What a key holds; none if it holds nothing.
    ///
    /// # Errors
    /// If there is no answer, or the value is of another type.
    pub async fn read<T: DeserializeOwned>(&self, key: impl Serialize) -> Result<Option<T>, Error> {
        match self.context.rpc(self.service, json!({ "type": "read", "key": key })).await {
            Ok(mut answer) => serde_json::from_value(answer["value"].take()).map(Some).map_err(|error| {
                Error::crash(format!("what {} holds is something else: {error}", self.service))
            }),
            Err(error) if error.is(ErrorCode::KeyDoesNotExist) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets a key hold a value.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn write(&self, key: impl Serialize, value: impl Serialize) -> Result<(), Error> {
        let body = json!({ "type": "write", "key": key, "value": value });
        self.context.rpc(self.service, body).await.map(drop)
    }

    /// Lets a key hold a value if it holds that other one, or nothing where `from` is none. False if it does not.
    ///
    /// # Errors
    /// If there is no answer: then nobody knows whether it happened.
    pub async fn cas<T: Serialize>(
        &self,
        key: impl Serialize,
        from: Option<T>,
        to: T,
    ) -> Result<bool, Error> {
        let create = from.is_none();
        let from = from.map_or(Ok(Json::Null), |from| serde_json::to_value(from));
        let from = from.map_err(|error| Error::crash(error.to_string()))?;
        // A key that holds nothing holds no null either: what is there then is not what was expected.
        let body = json!({
            "type": "cas", "key": key, "from": from, "to": to, "create_if_not_exists": create,
        });
        match self.context.rpc(self.service, body).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(ErrorCode::PreconditionFailed) || error.is(ErrorCode::KeyDoesNotExist) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Changes what a key holds, again and again until nobody has come in between; what it holds then. The change is told
    /// none if the key holds nothing.
    ///
    /// # Errors
    /// If there is no answer: then nobody knows whether it happened.
    pub async fn update<T: Serialize + DeserializeOwned + Clone>(
        &self,
        key: impl Serialize + Clone,
        change: impl Fn(Option<&T>) -> T,
    ) -> Result<T, Error> {
        loop {
            let from: Option<T> = self.read(key.clone()).await?;
            let to = change(from.as_ref());
            if self.cas(key.clone(), from, to.clone()).await? {
                return Ok(to);
            }
        }
    }
}
