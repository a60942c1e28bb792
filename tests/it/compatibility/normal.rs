//! What differs from run to run, replaced by its kind.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Applied in this order. ASCII only: the crate has no Unicode classes here.
static KINDS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let hex = "[0-9a-f]";
    [
        (format!("{hex}{{8}}-{hex}{{4}}-{hex}{{4}}-{hex}{{4}}-{hex}{{12}}"), "<uuid>"),
        // A bare date, such as that of a session, is kept: the tests choose it.
        ("[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?([.][0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})?".to_owned(), "<time>"),
        ("127[.]0[.]0[.]1:[0-9]{4,5}".to_owned(), "127.0.0.1:<port>"),
        (
            "(?-u:\\b)[0-9]+([.][0-9]+)? ?(ms|s|min|h|d|seconds?|minutes?|hours?|days?)(?-u:\\b)".to_owned(),
            "<duration>",
        ),
        ("process [0-9]+".to_owned(), "process <pid>"),
        ("[0-9.]+ [kMGT]?B free".to_owned(), "<bytes> free"),
    ]
    .map(|(pattern, kind)| (Regex::new(&pattern).unwrap(), kind))
    .into()
});

/// A text without what differs from run to run. `folders` are replaced first, each by its name.
pub fn text(text: &str, folders: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (folder, name) in folders {
        text = text.replace(folder, name);
    }
    text = text.replace(concat!("version ", env!("CARGO_PKG_VERSION")), "version <version>");
    for (pattern, kind) in KINDS.iter() {
        text = pattern.replace_all(&text, *kind).into_owned();
    }
    // Revisions are named after today; midnight may come while the test runs, and sooner in another zone.
    let today = jiff::Zoned::now().date();
    for day in [today.yesterday(), Ok(today), today.tomorrow()] {
        text = text.replace(&day.unwrap().to_string(), "<today>");
    }
    text
}

/// The same for every text in a value; numbers that are measured are replaced by their keys.
pub fn value(value: &Value, folders: &[(&str, &str)]) -> Value {
    const MEASURED: [&str; 2] = ["took", "pid"];
    match value {
        Value::String(inner) => Value::String(text(inner, folders)),
        Value::Array(items) => items.iter().map(|item| self::value(item, folders)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, field)| {
                let field = match field {
                    Value::Number(_) if MEASURED.contains(&key.as_str()) => Value::from("<number>"),
                    Value::String(_) if key == "version" => Value::from("<version>"),
                    other => self::value(other, folders),
                };
                (key.clone(), field)
            })
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn what_differs_from_run_to_run_is_replaced_and_the_rest_stays() {
    let said = "/tmp/x/data/KS014/2024-05-01/001: http://127.0.0.1:40123/sessions/\
                0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f at 2026-01-02T03:04:05.678Z in 12.5 s, 3 B (process 77)";
    assert_eq!(
        text(said, &[("/tmp/x/data", "<root>")]),
        "<root>/KS014/2024-05-01/001: http://127.0.0.1:<port>/sessions/<uuid> at <time> in <duration>, 3 B (process <pid>)"
    );
}
