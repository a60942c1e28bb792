//! Host names: under which names the page answers. Pure.
//!
//! A page on loopback is for this computer only. A web site whose name is made to lead here (DNS rebinding) could have a
//! browser on this computer read it; such a request carries the name of that site in its `Host` header.

use std::net::{IpAddr, SocketAddr};

/// The names under which the page answers.
#[derive(Debug, Clone)]
pub(super) struct HostNames {
    /// Whether the page listens on loopback. Elsewhere it has names that are not known here.
    is_loopback: bool,
    /// In addition to those of loopback.
    names: Vec<String>,
}

impl HostNames {
    pub(super) fn new(listen: SocketAddr, names: &[String]) -> Self {
        Self { is_loopback: listen.ip().is_loopback(), names: names.to_vec() }
    }

    /// Whether a request is answered, by its `Host` header. Only programs omit the header, never a browser.
    pub(super) fn accept(&self, host: Option<&str>) -> bool {
        let Some(host) = host.filter(|_| self.is_loopback) else { return true };
        let name = without_port(host).trim_end_matches('.');
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

/// `[::1]:80` without `:80`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_the_page_answers_under_the_names_of_this_computer_only() {
        let listen = "127.0.0.1:9174".parse().unwrap();
        let names = HostNames::new(listen, &["rig1.lab.org".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST:9174",
            "127.0.0.1:9174",
            "127.0.0.2",
            "[::1]",
            "[::1]:9174",
            "rig1.lab.org",
            "Rig1.Lab.Org.:80",
        ] {
            assert!(names.accept(Some(host)), "{host}");
        }
        for host in [
            "evil.example.com",
            "evil.example.com:9174",
            "localhost.evil.com",
            "10.0.0.1",
            "",
            "127.0.0.1.evil.com",
        ] {
            assert!(!names.accept(Some(host)), "{host}");
        }
        assert!(names.accept(None));
    }

    #[test]
    fn elsewhere_the_page_has_names_that_are_not_known_here() {
        let names = HostNames::new("0.0.0.0:9174".parse().unwrap(), &[]);
        assert!(names.accept(Some("rig1.lab.org:9174")));
    }
}
