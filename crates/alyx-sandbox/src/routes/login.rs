//! `POST /auth-token`.

use serde_json::{Map, Value, json};

use crate::message::{Answer, Request, Stop};
use crate::store::Store;

/// A name and a password for a token, the same one at every login.
pub(super) fn log_in(store: &Store, request: &Request) -> Result<Answer, Stop> {
    let body = request.data()?;
    let mut errors = Map::new();
    let mut read = |name: &str| {
        let message = match body.get(name) {
            None => "This field is required.",
            Some(Value::Null) => "This field may not be null.",
            Some(Value::String(text)) if text.is_empty() => "This field may not be blank.",
            Some(Value::String(text)) => return text.clone(),
            Some(_) => "Not a valid string.",
        };
        errors.insert(name.into(), json!([message]));
        String::new()
    };
    let (username, password) = (read("username"), read("password"));
    if !errors.is_empty() {
        return Err(Answer::fields(errors).into());
    }
    match store.log_in(&username, &password)? {
        Some(token) => Ok(Answer::json(200, json!({"token": token}))),
        None => Err(Answer::field("non_field_errors", "Unable to log in with provided credentials.").into()),
    }
}
