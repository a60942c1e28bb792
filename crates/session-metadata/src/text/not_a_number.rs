//! `NaN` and `Infinity`, which Python writes into JSON. Pure.

use std::borrow::Cow;

/// What [`without_nan`] writes: no rig writes this text.
pub(crate) const NOT_A_NUMBER: &str = "\0NaN";

/// Python writes `NaN` and `Infinity`, which JSON does not have: they become [`NOT_A_NUMBER`].
pub(crate) fn without_nan(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest, mut in_string) = (String::with_capacity(text.len() + 16), text, false);
    while let Some(c) = rest.chars().next() {
        let word =
            ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| !in_string && rest.starts_with(word));
        let taken = match (word, c) {
            (Some(word), _) => {
                out.push_str(r#""\u0000NaN""#);
                rest = rest.get(word.len()..).unwrap_or_default();
                continue;
            }
            // An escaped character, which may be a quote.
            (None, '\\') if in_string => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            (None, '"') => {
                in_string = !in_string;
                1
            }
            (None, c) => c.len_utf8(),
        };
        let (kept, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        out.push_str(kept);
        rest = after;
    }
    Cow::Owned(out)
}
