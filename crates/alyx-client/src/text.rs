//! Text from disks and servers, made safe and short enough to print.

/// A name for people to read: control characters, which would forge a line of a log or steer a terminal, are escaped.
///
/// ```
/// assert_eq!(alyx_client::text::printable("a\nb\u{1b}[2J é"), "a\\nb\\u{1b}[2J é");
/// ```
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if is_hidden(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Control characters, and marks that nobody sees: some of them turn the direction of what follows.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// So many of many things are named in a message; and so many letters of one.
const MOST_NAMED: usize = 20;
const MOST_LETTERS: usize = 300;

/// The first of many things in one line, and how many more there are: a message is for people, and a session may have
/// 100,000 files.
///
/// ```
/// use alyx_client::text::some_of;
/// assert_eq!(some_of(["a", "b"], "; "), "a; b");
/// let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
/// assert!(some_of(&many, ", ").ends_with("18, 19 and 980 more"));
/// ```
pub fn some_of<T: AsRef<str>>(things: impl IntoIterator<Item = T>, between: &str) -> String {
    let mut things = things.into_iter();
    let named: Vec<String> =
        things.by_ref().take(MOST_NAMED).map(|thing| shortened(thing.as_ref())).collect();
    let named = named.join(between);
    match things.count() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn shortened(text: &str) -> String {
    let printable = printable(text);
    match printable.char_indices().nth(MOST_LETTERS) {
        None => printable,
        Some((end, _)) => format!("{}…", printable.get(..end).unwrap_or_default()),
    }
}
