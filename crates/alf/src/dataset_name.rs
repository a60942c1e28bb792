//! A dataset name: the file name of an ALF dataset and its parts.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::characters::{ASCII_WORD, WORD, constant};

/// The file name of an ALF dataset: `[_namespace_]object.attribute[_timescale][.extra…].extension`.
///
/// Accepts what `one.alf.spec.is_valid` accepts and splits it as `one.alf.path.filename_parts` does, with one
/// exception: a line break at the end, which Python's `$` lets through, is refused.
///
/// ```
/// use alf::DatasetName;
///
/// let name = DatasetName::parse("_ibl_trials.goCue_times_bpod.part1.csv").unwrap();
/// assert_eq!(name.namespace(), Some("ibl"));
/// assert_eq!(name.object(), "trials");
/// assert_eq!(name.attribute(), "goCue_times");
/// assert_eq!(name.timescale(), Some("bpod"));
/// assert_eq!(name.extra(), Some("part1"));
/// assert_eq!(name.extension(), "csv");
/// assert_eq!(name.object_attribute(), "trials.goCue_times");
///
/// for refused in ["spikes.npy", "._spikes.times.npy", "my spikes.times.npy", "spikes.times.npy\n", ""] {
///     assert!(DatasetName::parse(refused).is_err(), "{refused:?}");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetName {
    name: String,
    namespace: Option<Range<usize>>,
    object: Range<usize>,
    attribute: Range<usize>,
    timescale: Option<Range<usize>>,
    extra: Option<Range<usize>>,
    extension: Range<usize>,
}

/// Not an ALF file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ALF name: rename it to object.attribute.extension, such as spikes.times.npy")]
pub struct DatasetNameError(pub String);

/// ONE's `FILE_SPEC` without its look-arounds.
///
/// - A namespace must follow `_`, and the pattern is anchored: so it can only follow the leading `_`.
/// - `_times` and `_intervals` must be followed by `_` or `.`: the part after an attribute begins with one of them.
fn file_spec(word: &str) -> Regex {
    constant(&format!(
        r"^(?:_(?<namespace>[a-zA-Z0-9]+)?)?_?(?<object>[{word}]+)\.(?<attribute>(?:_[a-z]+_)?[a-zA-Z0-9]+(?:_times|_intervals)?)(?:_(?<timescale>[{word}]+))?(?:\.(?<extra>[.{word}-]+))*\.(?<extension>[{word}]+)$"
    ))
}

impl DatasetName {
    /// Parses a file name.
    ///
    /// # Errors
    /// [`DatasetNameError`] with the name, if it is not ALF.
    pub fn parse(name: &str) -> Result<Self, DatasetNameError> {
        static ASCII: LazyLock<Regex> = LazyLock::new(|| file_spec(ASCII_WORD));
        static UNICODE: LazyLock<Regex> = LazyLock::new(|| file_spec(WORD));
        let spec: &Regex = if name.is_ascii() { &ASCII } else { &UNICODE };
        let found = spec.captures(name);
        let part = |part: &str| found.as_ref().and_then(|c| c.name(part)).map(|m| m.range());
        match (part("object"), part("attribute"), part("extension")) {
            (Some(object), Some(attribute), Some(extension)) => Ok(Self {
                namespace: part("namespace"),
                timescale: part("timescale"),
                extra: part("extra"),
                name: name.to_owned(),
                object,
                attribute,
                extension,
            }),
            _ => Err(DatasetNameError(name.to_owned())),
        }
    }

    /// The whole file name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The namespace, without its underscores: `ibl` of `_ibl_trials.intervals.npy`.
    ///
    /// As in ONE, a single leading underscore also makes a namespace: `_trials.x.npy` is namespace `trial`, object `s`.
    pub fn namespace(&self) -> Option<&str> {
        self.optional(&self.namespace)
    }

    /// The object: `spikes` of `spikes.times.npy`.
    pub fn object(&self) -> &str {
        self.part(&self.object)
    }

    /// The attribute: `times` of `spikes.times.npy`, `goCue_times` of `trials.goCue_times.npy`.
    pub fn attribute(&self) -> &str {
        self.part(&self.attribute)
    }

    /// The timescale: `ephysClock` of `spikes.times_ephysClock.npy`.
    pub fn timescale(&self) -> Option<&str> {
        self.optional(&self.timescale)
    }

    /// The extra parts, joined by dots: `part1.raw` of `spikes.times.part1.raw.npy`.
    pub fn extra(&self) -> Option<&str> {
        self.optional(&self.extra)
    }

    /// The extension, without its dot.
    pub fn extension(&self) -> &str {
        self.part(&self.extension)
    }

    /// `object.attribute`, which must equal the name of a dataset type that has no pattern.
    pub fn object_attribute(&self) -> String {
        format!("{}.{}", self.object(), self.attribute())
    }

    fn part(&self, range: &Range<usize>) -> &str {
        self.name.get(range.clone()).unwrap_or_default()
    }

    fn optional(&self, range: &Option<Range<usize>>) -> Option<&str> {
        range.as_ref().map(|range| self.part(range))
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_attribute_may_hold_an_underscore_before_times_and_intervals_only() {
        let parts = |name: &str| {
            let name = DatasetName::parse(name).unwrap();
            (name.attribute().to_owned(), name.timescale().map(str::to_owned))
        };
        assert_eq!(parts("trials.goCue_times.npy"), ("goCue_times".into(), None));
        assert_eq!(parts("trials.goCue_timestamps.npy"), ("goCue".into(), Some("timestamps".into())));
        assert_eq!(parts("trials.laser_intervals_nidq.npy"), ("laser_intervals".into(), Some("nidq".into())));
        assert_eq!(parts("channels._phy_ids.csv"), ("_phy_ids".into(), None));
    }

    #[test]
    fn a_long_name_of_dots_is_refused_at_once() {
        // ONE's expression takes exponential time on this name.
        let hostile = format!("a.b{}!", ".".repeat(100_000));
        assert!(DatasetName::parse(&hostile).is_err());
    }

    #[test]
    fn the_error_shows_what_a_name_looks_like() {
        let message = DatasetName::parse("notes.txt").unwrap_err().to_string();
        assert!(message.contains("notes.txt") && message.contains("rename"), "{message}");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_the_name(text in any::<String>()) {
            if let Ok(name) = DatasetName::parse(&text) {
                prop_assert_eq!(name.as_str(), text);
            }
        }

        #[test]
        fn a_name_is_made_of_its_parts(text in "_?[a-z]{0,3}_?[a-zé]{1,4}\\.[a-z]{1,5}(_times)?(_[a-z_]{1,4})?(\\.[a-z.-]{1,5}){0,2}\\.[a-z]{1,3}") {
            let name = DatasetName::parse(&text).unwrap();
            let tail = [
                format!(".{}", name.attribute()),
                name.timescale().map(|t| format!("_{t}")).unwrap_or_default(),
                name.extra().map(|e| format!(".{e}")).unwrap_or_default(),
                format!(".{}", name.extension()),
            ];
            let whole = tail.iter().all(|part| text.contains(part.as_str()));
            prop_assert!(whole && text.contains(name.object()) && !name.object().is_empty(), "{:?}", name);
            prop_assert!(text.trim_start_matches('_').starts_with(name.namespace().unwrap_or(name.object())));
        }
    }
}
