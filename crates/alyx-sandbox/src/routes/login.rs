//! `POST /auth-token`.

use serde_json::{Map, Value, json};

use crate::http::message::{Error, Reply, Request};
use crate::store::Store;

/// Exchanges user name and password for a token, which is the same at every login.
pub(super) fn log_in(store: &mut Store, request: &Request) -> Result<Reply, Error> {
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
        return Err(Reply::fields(errors).into());
    }
    match store.log_in(&username, &password)? {
        Some(token) => Ok(Reply::json(200, json!({"token": token}))),
        None => Err(Reply::field("non_field_errors", "Unable to log in with provided credentials.").into()),
    }
}
