//! Creates or changes one proposed record, and reads it back.

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::propose::change::Change;

/// What became of a proposed change.
#[derive(Debug)]
pub enum Applied {
    /// It was made by this call: the record as Alyx has it now.
    Made(Value),
    /// It was made by this call, but Alyx does not show it: the record as Alyx answered, and why it was not found.
    NotConfirmed(Value, Error),
    /// Another program made it since the proposal.
    Existing,
    /// Nothing was done: the record is no longer what the proposal was made for.
    Changed,
}

impl RegistrationClient {
    /// Makes one change and reads it back.
    ///
    /// # Errors
    /// Those of the requests; once it is made, they are in [`Applied::NotConfirmed`].
    pub async fn apply_change(&self, change: &Change) -> Result<Applied, Error> {
        let alyx = self.alyx();
        let now = alyx.find_member(change.endpoint, &change.name).await?;
        let is_unchanged = match (&now, &change.before) {
            (None, None) => true,
            (Some(now), Some(before)) => has_fields(now, before),
            _ => false,
        };
        if now.as_ref().is_some_and(|now| has_fields(now, &change.body)) {
            return Ok(Applied::Existing);
        }
        if !is_unchanged {
            return Ok(Applied::Changed);
        }
        let sent = match change.before {
            None => alyx.create_member(change.endpoint, &change.body).await,
            Some(_) => alyx.update_member(change.endpoint, &change.name, &change.body).await,
        };
        let made = match sent {
            // Alyx refuses a name that another program created in between.
            Err(error @ alyx_client::Error::Refused { .. }) => {
                return match self.find_applied(change).await {
                    Ok(Some(_)) => Ok(Applied::Existing),
                    _ => Err(error.into()),
                };
            }
            sent => sent?,
        };
        Ok(match self.find_applied(change).await {
            Ok(Some(record)) => Applied::Made(record),
            Ok(None) => {
                let name = format!("{} {}", change.endpoint.member(), change.name);
                Applied::NotConfirmed(made, Error::NotConfirmed(vec![name]))
            }
            Err(error) => Applied::NotConfirmed(made, error),
        })
    }

    /// The record, if it is as the change makes it: also after an error, when the change may have been made.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn find_applied(&self, change: &Change) -> Result<Option<Value>, Error> {
        let record = self.alyx().find_member(change.endpoint, &change.name).await?;
        Ok(record.filter(|record| has_fields(record, &change.body)))
    }
}

/// Whether a record has these values. Alyx stores a pattern in lower case and a list in its own order.
fn has_fields(record: &Value, fields: &Value) -> bool {
    let plain = |value: &Value| match value {
        Value::String(text) => Value::from(text.to_lowercase()),
        Value::Null => Value::from(""),
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().map(Value::to_string).collect();
            items.sort();
            items.into()
        }
        other => other.clone(),
    };
    let fields = fields.as_object().into_iter().flatten();
    fields.into_iter().all(|(key, value)| record.get(key).map(plain) == Some(plain(value)))
}
