//! A file pattern: which file names belong to a dataset type, by the rules of Python's `fnmatch`.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

/// Size limit of one compiled pattern, in bytes; patterns of real databases need a few thousand.
const SIZE_LIMIT: usize = 1 << 20;

/// A pattern of file names as Python's `fnmatch` reads it, without regard to case.
///
/// `*` is any text, `?` any character, `[seq]` and `[!seq]` any character in (not in) a set with ranges; an
/// unclosed `[` is literal. The crate `glob` differs: it has `**`, and it rejects unbalanced brackets.
///
/// ```
/// use alf::FilePattern;
///
/// let pattern = FilePattern::parse("*spikes.times*.npy").unwrap();
/// assert!(pattern.matches("_ibl_Spikes.times_ephysClock.NPY"));
/// assert!(!pattern.matches("spikes.times.npy.bak"));
/// ```
#[derive(Debug, Clone)]
pub struct FilePattern {
    pattern: String,
    regex: Regex,
}

/// A pattern that is too large to compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file name pattern {0:?} is too complicated: ask your Alyx admin to shorten it")]
pub struct FilePatternError(pub String);

impl FilePattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`FilePatternError`] if the pattern is far larger than Alyx can store (255 characters).
    pub fn parse(pattern: &str) -> Result<Self, FilePatternError> {
        let short = || pattern.chars().take(60).collect();
        let regex = RegexBuilder::new(&to_regex(pattern))
            .size_limit(SIZE_LIMIT)
            .build()
            .map_err(|_| FilePatternError(short()))?;
        Ok(Self { pattern: pattern.to_owned(), regex })
    }

    /// The pattern as given.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// The regular expression, for a name that went through [`fold`].
    pub(crate) fn folded_regex(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether a whole file name matches.
    pub fn matches(&self, file_name: &str) -> bool {
        self.regex.is_match(&fold(file_name))
    }
}

/// Folds case as Python's `str.casefold` does.
///
/// Lower case is not enough: `ß` and `SS` are equal, and so are `ς` and `Σ`. Cherokee folds to lower case here and to
/// upper case in Python, which makes a difference only in a range `[…-…]`.
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ẞ' => folded.push_str("ss"),
            'ı' => folded.push(c),
            _ => folded.extend(c.to_uppercase().flat_map(char::to_lowercase)),
        }
    }
    folded
}

/// The regular expression that matches what the folded pattern matches.
fn to_regex(pattern: &str) -> String {
    let pattern: Vec<char> = fold(pattern).chars().collect();
    let mut regex = String::from("^(?s:");
    let mut rest = pattern.as_slice();
    while let [c, tail @ ..] = rest {
        rest = tail;
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match closing_bracket(tail) {
                Some(end) => {
                    let (set, after) = tail.split_at(end);
                    push_set(&mut regex, set);
                    rest = after.get(1..).unwrap_or_default();
                }
                None => push_char(&mut regex, '['),
            },
            _ => push_char(&mut regex, *c),
        }
    }
    regex.push_str(")$");
    regex
}

/// Where the set after a `[` ends. A `]` that comes first (or after `!`) is a member of the set.
fn closing_bracket(after: &[char]) -> Option<usize> {
    let mut start = usize::from(after.first() == Some(&'!'));
    start += usize::from(after.get(start) == Some(&']'));
    after.iter().skip(start).position(|c| *c == ']').map(|i| i + start)
}

/// Writes one set. Ranges are read from the left; a hyphen without a character before or after it is literal.
fn push_set(regex: &mut String, set: &[char]) {
    let (negated, mut rest) = match set {
        ['!', tail @ ..] => (true, tail),
        _ => (false, set),
    };
    let mut members: Vec<(char, char)> = Vec::new();
    while let [first, tail @ ..] = rest {
        match tail {
            ['-', last, after @ ..] => {
                // A range that runs backwards is empty, not an error.
                if first <= last {
                    members.push((*first, *last));
                }
                rest = after;
            }
            _ => {
                members.push((*first, *first));
                rest = tail;
            }
        }
    }
    match (members.is_empty(), negated) {
        (true, true) => regex.push('.'),
        (true, false) => regex.push_str(r"[^\x{0}-\x{10FFFF}]"),
        (false, _) => {
            regex.push_str(if negated { "[^" } else { "[" });
            for (first, last) in members {
                push_char(regex, first);
                regex.push('-');
                push_char(regex, last);
            }
            regex.push(']');
        }
    }
}

/// Writes one literal character.
fn push_char(regex: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        regex.push(c);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(regex, r"\x{{{:X}}}", u32::from(c));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        FilePattern::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn stars_and_question_marks_take_any_character() {
        assert!(matches("*", ""));
        assert!(matches("**a**", "/a\n"));
        assert!(matches("?.npy", "é.npy"));
        assert!(!matches("?.npy", ".npy"));
        assert!(!matches("a*", "ba"));
    }

    #[test]
    fn a_set_is_read_as_python_reads_it() {
        assert!(matches("[a-c-e]", "-") && matches("[a-c-e]", "e") && !matches("[a-c-e]", "d"));
        assert!(matches("[a-c--z]", "q"));
        assert!(matches("[]x]", "]") && matches("[!]x]", "a") && !matches("[!]x]", "]"));
        assert!(!matches("[z-a]", "m") && matches("[!z-a]", "m"));
        assert!(matches("[^a]", "^") && matches("[^a]", "a") && !matches("[^a]", "b"));
        assert!(matches("[a&&b]", "&") && matches("[[:alpha:]]", ":]") && !matches("[[:alpha:]]", "b"));
        assert!(matches("[-a]", "-") && matches("[a-]", "-"));
    }

    #[test]
    fn an_unclosed_bracket_is_literal() {
        assert!(matches("a[b", "a[b") && matches("[!", "[!") && matches("[]", "[]"));
    }

    #[test]
    fn case_does_not_matter_in_any_script() {
        assert!(
            matches("STRASSE.*", "straße.npy")
                && matches("ss", "ẞ")
                && !matches("I", "ı")
                && matches("ΌΣΟΣ", "όσος")
                && matches("[A-C]", "b")
        );
    }

    #[test]
    fn characters_other_than_wildcards_are_literal() {
        for text in ["a.b", "(a)", "a|b", "a+", "^a$", "{a}", "\\d", "#a b", "a&&b~~c"] {
            assert!(matches(text, text), "{text}");
            assert!(!matches(text, "a") && !matches(text, "aa"), "{text}");
        }
    }

    #[test]
    fn a_pattern_of_absurd_size_is_refused() {
        let error = FilePattern::parse(&"[!é]".repeat(100_000)).unwrap_err().to_string();
        assert!(error.contains("Alyx admin") && error.len() < 400, "{error}");
    }

    proptest! {
        #[test]
        fn every_pattern_that_alyx_can_store_compiles(pattern in "\\PC{0,255}") {
            let _ = FilePattern::parse(&pattern).unwrap().matches("spikes.times.npy");
        }

        #[test]
        fn every_set_compiles(pattern in "[\\[\\]!^a-c&~|\\\\*?-]{0,20}", name in "[\\[\\]!^a-c-]{0,4}") {
            let _ = FilePattern::parse(&pattern).unwrap().matches(&name);
        }
    }
}
