//! Faults that a test can inject: what a real network and a real server do on a bad day.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// What happens to a request instead of its execution, or in addition.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// This answer; the request is not executed.
    Status {
        /// The HTTP status.
        code: u16,
        /// The body.
        body: String,
        /// The `Content-Type`, such as `application/json`.
        content_type: String,
        /// A `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// HTTP 500 for a request whose body contains this text; other requests are executed.
    ServerErrorFor(String),
    /// This status with the error page of a proxy: HTML where a client expects JSON. The request is not executed.
    Html(u16),
    /// The connection closes without an answer. The request is not executed.
    Drop,
    /// The request is executed, then the connection closes without an answer: the answer is lost.
    ApplyThenDrop,
    /// The request is executed after this time.
    Delay(Duration),
    /// The request is executed when the gate is opened, so that a test can act in between.
    Hold(Gate),
    /// No answer; the connection stays open until the client or the sandbox closes it. The request is not executed.
    Hang,
}

/// A gate at which a request waits. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    reached: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { reached: Arc::new(Semaphore::new(0)), opened: Arc::new(Semaphore::new(0)) }
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Gate) -> bool {
        Arc::ptr_eq(&self.opened, &other.opened)
    }
}

impl Gate {
    /// Waits until a request has arrived at the gate.
    pub async fn reached(&self) {
        if let Ok(permit) = self.reached.acquire().await {
            permit.forget();
        }
    }

    /// Lets one request pass.
    pub fn open(&self) {
        self.opened.add_permits(1);
    }

    pub(super) async fn pass(&self) {
        self.reached.add_permits(1);
        if let Ok(permit) = self.opened.acquire().await {
            permit.forget();
        }
    }
}

/// Which requests a fault affects, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// Only this method, such as `POST`; `None` for any.
    pub method: Option<String>,
    /// Only paths with this prefix, such as `/register-file`; empty for any.
    pub path_prefix: String,
    /// The number of requests affected; `usize::MAX` for no limit.
    pub times: usize,
    /// What happens.
    pub fault: Fault,
}

impl FaultRule {
    fn matches(&self, method: &str, path: &str) -> bool {
        self.times > 0
            && path.starts_with(&self.path_prefix)
            && self.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method))
    }
}

/// The rules that still apply, oldest first.
#[derive(Default)]
pub(super) struct Faults(Vec<FaultRule>);

impl Faults {
    pub fn add(&mut self, rule: FaultRule) {
        self.0.push(rule);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of the first rule that matches the request; counts it down.
    pub fn take(&mut self, method: &str, path: &str) -> Option<Fault> {
        let rule = self.0.iter_mut().find(|rule| rule.matches(method, path))?;
        if rule.times != usize::MAX {
            rule.times -= 1;
        }
        let fault = rule.fault.clone();
        self.0.retain(|rule| rule.times > 0);
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_applies_to_matching_requests_until_it_is_used_up() {
        let mut faults = Faults::default();
        let method = Some("POST".to_owned());
        faults.add(FaultRule { method, path_prefix: "/sessions".into(), times: 2, fault: Fault::Drop });
        assert_eq!(faults.take("GET", "/sessions"), None);
        assert_eq!(faults.take("POST", "/sessions"), Some(Fault::Drop));
        assert_eq!(faults.take("POST", "/sessions"), Some(Fault::Drop));
        assert_eq!(faults.take("POST", "/sessions"), None);
    }
}
