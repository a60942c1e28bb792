//! A change on Alyx: a record to create or to change, over REST or by hand. Pure.

use serde_json::Value;

use alyx_client::Endpoint;

/// A record to create or change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub endpoint: Endpoint,
    /// Its name.
    pub name: String,
    /// The record, or the changed fields.
    pub body: Value,
    /// The same fields before the change; `None`: the record is created.
    pub before: Option<Value>,
    /// Why.
    pub reason: String,
    /// Names on Alyx that this one was probably meant to be: then it must not be created unseen.
    pub near: Vec<String>,
}

/// A REST request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestCall {
    /// Such as `POST`.
    pub method: &'static str,
    /// Below the address of Alyx.
    pub path: String,
    /// The body, if any.
    pub body: Option<Value>,
}

/// A record that is created on Alyx's admin pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHand {
    /// Its noun, such as `subject`.
    pub what: &'static str,
    /// Its name, or a file that needs it.
    pub name: String,
    /// Path of the admin page.
    pub page: &'static str,
    /// Why, if that needs words.
    pub reason: String,
    /// Names on Alyx that this one was probably meant to be.
    pub near: Vec<String>,
}

impl Change {
    pub(super) fn create(endpoint: Endpoint, name: &str, body: Value, reason: String) -> Self {
        Self { endpoint, name: name.to_owned(), body, before: None, reason, near: Vec::new() }
    }

    pub(super) fn update(endpoint: Endpoint, name: &str, before: Value, body: Value, reason: String) -> Self {
        Self { before: Some(before), ..Self::create(endpoint, name, body, reason) }
    }

    pub(super) fn near(self, near: Vec<String>) -> Self {
        Self { near, ..self }
    }

    /// The request that makes it.
    pub fn call(&self) -> RestCall {
        let (method, path) = match self.before {
            None => ("POST", self.endpoint.path().to_owned()),
            Some(_) => ("PATCH", self.endpoint.member_path(&self.name)),
        };
        RestCall { method, path, body: Some(self.body.clone()) }
    }

    /// The request that undoes it. Alyx may have stored another name than was sent.
    pub fn undo(&self, made: Option<&Value>) -> RestCall {
        let method = if self.before.is_some() { "PATCH" } else { "DELETE" };
        let stored = made.and_then(|record| record.get(self.endpoint.key())?.as_str());
        let path = self.endpoint.member_path(stored.unwrap_or(&self.name));
        RestCall { method, path, body: self.before.clone() }
    }

    /// Whether Alyx stores the name as it is, and has an address for the record.
    pub(super) fn has_usable_name(&self) -> bool {
        !matches!(self.name.as_str(), "" | "." | "..") && self.name.trim() == self.name
    }
}
