//! Faults that a test or the demo can order: what a real network and a real server do on a bad day.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// What happens to a request instead of, or besides, its work.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// This answer, and no work.
    Status {
        /// The HTTP status.
        code: u16,
        /// The body, as it is sent.
        body: String,
        /// Its type, such as `application/json`.
        content_type: String,
        /// A `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// This status with the page of a proxy: HTML where a client expects JSON. No work.
    Html(u16),
    /// The connection closes without an answer. No work.
    Drop,
    /// The work is done, then the connection closes without an answer: the answer is lost.
    ApplyThenDrop,
    /// The work is done after this time.
    Delay(Duration),
    /// The work is done when the gate is opened: whoever ordered the fault acts in between.
    Hold(Gate),
    /// No answer ever comes; the connection stays open until the client or the sandbox gives up. No work.
    Hang,
}

/// A gate before which a request waits. Clones are the same gate.
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
    /// Waits until a request stands before the gate.
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

/// For which requests a fault is meant, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// Only this method, such as `POST`; `None`: any.
    pub method: Option<String>,
    /// Only paths that begin so, such as `/register-file`; empty: any.
    pub path_prefix: String,
    /// So many times; `usize::MAX` for ever.
    pub times: usize,
    /// What happens.
    pub fault: Fault,
}

impl FaultRule {
    fn takes(&self, method: &str, path: &str) -> bool {
        self.times > 0
            && path.starts_with(&self.path_prefix)
            && self.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method))
    }
}

/// The rules that are still to be played, in the order in which they were given.
#[derive(Default)]
pub(super) struct Faults(Vec<FaultRule>);

impl Faults {
    pub fn add(&mut self, rule: FaultRule) {
        self.0.push(rule);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of the first rule that takes this request; one of its times is used up.
    pub fn take(&mut self, method: &str, path: &str) -> Option<Fault> {
        let rule = self.0.iter_mut().find(|rule| rule.takes(method, path))?;
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
    fn a_rule_is_played_so_many_times_and_only_where_it_fits() {
        let mut faults = Faults::default();
        let method = Some("POST".to_owned());
        faults.add(FaultRule { method, path_prefix: "/sessions".into(), times: 2, fault: Fault::Drop });
        assert_eq!(faults.take("GET", "/sessions"), None);
        assert_eq!(faults.take("POST", "/sessions"), Some(Fault::Drop));
        assert_eq!(faults.take("POST", "/sessions"), Some(Fault::Drop));
        assert_eq!(faults.take("POST", "/sessions"), None);
    }
}
