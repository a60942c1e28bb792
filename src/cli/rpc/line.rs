//! Lines of limited length.

use std::io;
use std::io::{BufRead, Read};

/// A line of the input, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line.
    Whole(Vec<u8>),
    /// A longer line than accepted, which was skipped.
    TooLong,
}

/// The next line of at most `limit` bytes; `None` at the end of the input. A last line without its end counts.
///
/// # Errors
/// Those of the input.
pub(super) fn next_line(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    // One more for the end of the line.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    input.by_ref().take(most).read_until(b'\n', &mut line)?;
    if line.pop_if(|last| *last == b'\n').is_some() || (line.len() <= limit && !line.is_empty()) {
        line.pop_if(|last| *last == b'\r');
        return Ok(Some(Line::Whole(line)));
    }
    if line.is_empty() {
        return Ok(None);
    }
    input.skip_until(b'\n')?;
    Ok(Some(Line::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_whole() {
        let mut input = &b"abc\r\n\nabcd\nabcdefgh\xff\nabc\nabcde"[..];
        let mut next = || next_line(&mut input, 4).unwrap();
        let whole = |text: &str| Some(Line::Whole(text.into()));
        assert_eq!(next(), whole("abc"));
        assert_eq!(next(), whole(""));
        assert_eq!(next(), whole("abcd"));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), whole("abc"));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), None);
        assert_eq!(next_line(&mut &b"ab"[..], 4).unwrap(), whole("ab"));
    }
}
