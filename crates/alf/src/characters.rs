//! The characters of ALF names: what Python's `re` means by `\w`.

use std::sync::LazyLock;

use regex::Regex;

/// `\w` of Python's `re` on str, as the inside of a bracket: letters and numbers of any script, and `_`.
///
/// It is not the `\w` of the `regex` crate, which adds combining marks and leaves out numbers such as `²`.
pub(crate) const WORD: &str = r"\p{L}\p{N}_";

/// [`WORD`] for a name that is known to be ASCII, which makes for a far smaller automaton.
pub(crate) const ASCII_WORD: &str = "a-zA-Z0-9_";

/// Compiles a pattern that is part of this program.
pub(crate) fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of this program compiles")
}

/// `\w` of Python's `re` on str. `char::is_alphanumeric` also accepts marks at which Alyx cuts a name.
pub fn is_word(c: char) -> bool {
    static OTHER: LazyLock<Regex> = LazyLock::new(|| constant(&format!("^[{WORD}]$")));
    if c.is_ascii() {
        c == '_' || c.is_ascii_alphanumeric()
    } else {
        OTHER.is_match(c.encode_utf8(&mut [0; 4]))
    }
}

/// `[\w.-]+`: a subject, a revision, or one folder of a collection.
pub(crate) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '.' || c == '-' || is_word(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_character_is_what_python_calls_one() {
        for c in ['a', 'Z', '0', '_', 'é', 'ß', 'Ω', '²', '½', 'Ⅷ', '中', '٣'] {
            assert!(is_word(c), "{c}");
        }
        // A combining accent, a Devanagari vowel sign, a circled letter, a joining undertie.
        for c in [' ', '-', '.', '#', '/', '\n', '\u{301}', '\u{93e}', 'Ⓐ', '‿', '€'] {
            assert!(!is_word(c), "{c}");
        }
    }
}
