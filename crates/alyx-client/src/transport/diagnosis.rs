//! The diagnosis of a request without an answer from Alyx: what is probably wrong, and what to write instead.

use reqwest::Url;

use crate::error::Error;
use crate::transport::ca_file::certificate_advice;
use crate::transport::proxy::Proxy;

/// First parts of the paths below the address of an Alyx: an address that holds one was copied from a browser.
const BELOW_ALYX: &[&str] = &[
    "accounts",
    "admin",
    "api",
    "auth-token",
    "cache.zip",
    "channels",
    "check-protected",
    "chronic-insertions",
    "data-formats",
    "data-repository",
    "data-repository-type",
    "dataset-types",
    "datasets",
    "docs",
    "downloads",
    "fields-of-view",
    "files",
    "insertions",
    "labs",
    "locations",
    "me",
    "new-download",
    "notes",
    "procedures",
    "projects",
    "register-file",
    "revisions",
    "sessions",
    "static",
    "subjects",
    "surgeries",
    "sync-file-status",
    "tasks",
    "trajectories",
    "users",
    "water-administrations",
    "water-requirement",
    "water-type",
    "weighings",
];

/// What servers for https answer to http.
const WANTS_HTTPS: [&str; 3] =
    ["HTTP request was sent to HTTPS", "HTTP request to an HTTPS", "HTTP to an SSL"];

/// What to do about a request that got no answer. Pure.
pub(crate) fn advice(base: &str, failure: &str, is_connect: bool, proxy: Option<Proxy>) -> Option<String> {
    let url = Url::parse(base).ok()?;
    let host = url.host_str().unwrap_or_default();
    if let Some(Proxy { address, variable }) = proxy.filter(|_| is_connect) {
        return Some(format!(
            "requests go through the proxy {address}, which the environment variable {variable} names: correct or unset it, \
             or add {host} to NO_PROXY"
        ));
    }
    if let Some(advice) = certificate_advice(failure) {
        return Some(advice.to_owned());
    }
    if failure.contains("InvalidContentType") {
        return Some(format!(
            "the server does not speak https there: set alyx.url to {}",
            other_scheme(base)
        ));
    }
    if failure.contains("invalid HTTP version") {
        return Some(format!(
            "the server does not speak http there: should alyx.url be {}?",
            other_scheme(base)
        ));
    }
    if failure.contains("Connection refused") {
        let port = url.port_or_known_default().unwrap_or_default();
        return Some(format!(
            "nothing listens on port {port} of {host}: check the network, and that the port in alyx.url is right"
        ));
    }
    if failure.contains("dns error") {
        return Some(format!("there is no computer {host}: check the network, and the spelling of alyx.url"));
    }
    is_connect.then(|| "check the network, and that alyx.url is right, http or https included".to_owned())
}

/// Adds to the error of an answer that is not Alyx's what the address probably should be. Pure.
pub(crate) fn explained(base: &str, error: Error) -> Error {
    match error {
        Error::NotAlyx { what, reason } | Error::Refused { what, status: _, detail: reason }
            if WANTS_HTTPS.iter().any(|text| reason.contains(text)) =>
        {
            let likely = other_scheme(base);
            Error::NotAlyx {
                what,
                reason: format!("{reason}; the server speaks https there: set alyx.url to {likely}"),
            }
        }
        Error::NotAlyx { what, reason } => match likely_base(base) {
            Some(likely) => {
                Error::NotAlyx { what, reason: format!("{reason}; should alyx.url be {likely}?") }
            }
            None => Error::NotAlyx { what, reason },
        },
        other => other,
    }
}

/// What to write as the address, if a request below it is redirected. Pure.
pub(crate) fn redirected(base: &str, path: &str, to: &str) -> String {
    match to.trim_end_matches('/').strip_suffix(path).filter(|address| address.contains("://")) {
        Some(address) => format!("it redirects to {to}; set alyx.url to {address}"),
        None if likely_base(base).is_some() => format!("it redirects to {to}"),
        None => format!("it redirects to {to}; write that address (without the last part) as alyx.url"),
    }
}

/// Whether an address has a page of Alyx, or another folder, at its end. Pure.
pub(crate) fn may_be_below_alyx(base: &str) -> bool {
    likely_base(base).is_some()
}

/// The address that an address with a page of Alyx at its end probably should be.
fn likely_base(base: &str) -> Option<String> {
    let url = Url::parse(base).ok()?;
    let parts: Vec<&str> = url.path_segments()?.filter(|part| !part.is_empty()).collect();
    let known = parts.iter().position(|part| BELOW_ALYX.contains(part));
    let above = parts.get(..known.unwrap_or_default())?;
    (!parts.is_empty()).then(|| {
        let path: String = above.iter().map(|part| format!("/{part}")).collect();
        format!("{}{path}", url.origin().ascii_serialization())
    })
}

fn other_scheme(base: &str) -> String {
    match base.strip_prefix("https://") {
        Some(rest) => format!("http://{rest}"),
        None => base.replacen("http://", "https://", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_page_of_alyx_at_its_end_is_cut_there() {
        for (address, likely) in [
            ("https://x.org", None),
            ("https://x.org/", None),
            ("https://x.org/sessions", Some("https://x.org")),
            ("http://x.org:8000/admin/actions/session/", Some("http://x.org:8000")),
            ("https://x.org/alyx/admin", Some("https://x.org/alyx")),
            ("https://x.org/alyx/auth-token", Some("https://x.org/alyx")),
            ("https://x.org/wiki/Alyx", Some("https://x.org")),
        ] {
            assert_eq!(likely_base(address).as_deref(), likely, "{address}");
        }
    }

    #[test]
    fn a_failure_has_the_advice_that_fits() {
        let proxy = Proxy { address: "http://p:1".into(), variable: "HTTPS_PROXY" };
        for (base, failure, is_connect, proxy, wanted) in [
            ("https://x.org", "Connection refused", true, Some(proxy.clone()), "HTTPS_PROXY"),
            ("https://x.org", "timeout", false, Some(proxy), ""),
            ("https://x.org:8000", "message of type InvalidContentType", true, None, "http://x.org:8000"),
            ("http://x.org", "invalid HTTP version parsed", false, None, "https://x.org"),
            ("https://x.org", "Connection refused (os error 111)", true, None, "port 443 of x.org"),
            ("https://x.org", "dns error: failed", true, None, "no computer x.org"),
            ("https://x.org", "unreachable", true, None, "check the network"),
            ("https://x.org", "UnknownIssuer", true, None, "alyx.ca_file"),
        ] {
            let advice = advice(base, failure, is_connect, proxy).unwrap_or_default();
            assert!(advice.contains(wanted) && wanted.is_empty() == advice.is_empty(), "{failure}: {advice}");
        }
    }

    #[test]
    fn an_answer_that_wants_https_names_the_address() {
        let reason = "HTTP 400: The plain HTTP request was sent to HTTPS port".to_owned();
        let error = Error::NotAlyx { what: "GET /x".into(), reason };
        assert!(
            explained("http://x.org:8443", error).to_string().contains("set alyx.url to https://x.org:8443")
        );
    }

    #[test]
    fn a_redirect_names_the_address() {
        let said = redirected("http://x.org", "/auth-token", "https://x.org/auth-token/");
        assert!(said.ends_with("set alyx.url to https://x.org"), "{said}");
        assert!(redirected("http://x.org", "/auth-token", "/login").contains("without the last part"));
    }
}
