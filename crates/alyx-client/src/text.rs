//! Text from disks and servers, made safe and short enough to print.

/// Escapes control characters, which could forge a log line or control a terminal.
///
/// ```
/// assert_eq!(alyx_client::text::printable("a\nb\u{1b}[2J é"), "a\\nb\\u{1b}[2J é");
/// ```
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if is_hidden(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Control characters and invisible marks, some of which reverse the direction of the text after them.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The page of a session on Alyx, for a browser.
///
/// ```
/// use alyx_client::text::session_page;
/// assert_eq!(session_page("https://x.org/", "a-b"), "https://x.org/admin/actions/session/a-b/change");
/// ```
pub fn session_page(alyx: &str, eid: &str) -> String {
    format!("{}/admin/actions/session/{eid}/change", alyx.trim_end_matches('/'))
}

/// Limits on the items of a list, and on the characters of one item, in a message.
const MAX_ITEMS: usize = 20;
const MAX_CHARACTERS: usize = 300;

/// The first items of a list in one line, and the number of the others: a session may have 100,000 files.
///
/// ```
/// use alyx_client::text::some_of;
/// assert_eq!(some_of(["a", "b"], "; "), "a; b");
/// let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
/// assert!(some_of(&many, ", ").ends_with("18, 19 and 980 more"));
/// ```
pub fn some_of<T: AsRef<str>>(things: impl IntoIterator<Item = T>, between: &str) -> String {
    let mut things = things.into_iter();
    let named: Vec<String> = things.by_ref().take(MAX_ITEMS).map(|thing| shortened(thing.as_ref())).collect();
    let named = named.join(between);
    match things.count() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A text without control characters, cut to a length that a message can hold.
///
/// ```
/// use alyx_client::text::shortened;
/// assert_eq!(shortened("a\nb"), "a\\nb");
/// assert_eq!(shortened(&"x".repeat(1000)).chars().count(), 301);
/// ```
pub fn shortened(text: &str) -> String {
    // Before it is escaped: a server's text may have megabytes.
    let beginning = text.char_indices().nth(MAX_CHARACTERS + 1).map_or(text, |(end, _)| &text[..end]);
    let printable = printable(beginning);
    match printable.char_indices().nth(MAX_CHARACTERS) {
        None => printable,
        Some((end, _)) => format!("{}…", printable.get(..end).unwrap_or_default()),
    }
}
