//! The proxy: which one requests go through, and which variable names it.

use hyper_util::client::proxy::matcher::Matcher;

/// The proxy of an address, and the variable that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its address, without user and password.
    pub address: String,
    /// The variable, such as `HTTPS_PROXY`.
    pub variable: &'static str,
}

/// Whether `NO_PROXY` is `*`. The library knows a `*` for names only, and not for addresses in numbers.
pub(crate) fn is_bypassed() -> bool {
    let given = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| std::env::var(name).ok());
    given.is_some_and(|list| list.split(',').any(|entry| entry.trim() == "*"))
}

/// The proxy that requests to this address go through; `None`: they go there directly.
pub(crate) fn proxy_of(url: &str) -> Option<Proxy> {
    if is_bypassed() {
        return None;
    }
    let used = Matcher::from_env().intercept(&url.parse().ok()?)?;
    let own =
        if url.starts_with("https:") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let variable = own.into_iter().chain(["ALL_PROXY", "all_proxy"]).find(is_set)?;
    let uri = used.uri();
    let scheme = uri.scheme_str().unwrap_or("http");
    Some(Proxy { address: format!("{scheme}://{}", without_user(uri.authority()?.as_str())), variable })
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}
