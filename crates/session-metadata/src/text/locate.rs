//! The line of a key in a YAML or JSON text.
//!
//! A parsed YAML value has no position, but a deserialization error has one. To locate a key, the text is therefore
//! parsed again with a visitor that fails at this key, so that anchors, flow style and quotes are read as the parser
//! reads them.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// One step from a value to a nested value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Of a mapping.
    Key(String),
    /// Of a list, counted from 0.
    Index(usize),
}

/// The path of a value in the document; prints as `alyx.timeouts.request` or `data_roots[1].path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPath(pub Vec<Step>);

impl KeyPath {
    /// Parses a dotted path from the source code.
    pub fn of(dotted: &str) -> KeyPath {
        KeyPath(dotted.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }

    /// The value of a key below.
    pub fn key(&self, key: &str) -> KeyPath {
        self.then(Step::Key(key.to_owned()))
    }

    /// An item below.
    pub fn index(&self, index: usize) -> KeyPath {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> KeyPath {
        let mut steps = self.0.clone();
        steps.push(step);
        KeyPath(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(&printable(key))?;
                }
            }
        }
        Ok(())
    }
}

/// A text from the file in a form for messages: on one line, shortened, quoted if it is unusual.
pub fn printable(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if plain && text.len() <= 60 { text.to_owned() } else { quoted(text) }
}

/// As [`printable`], but always quoted.
pub fn quoted(text: &str) -> String {
    if text.chars().count() <= 60 {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(57).collect();
    format!("{:?}", start + "...")
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Syntax {
    /// Lets a visitor read the text; its error, and the line of it.
    fn visit<'de, S: DeserializeSeed<'de>>(
        self,
        text: &'de str,
        seed: S,
    ) -> Result<S::Value, (String, Option<usize>)> {
        match self {
            Self::Yaml => seed
                .deserialize(serde_yaml::Deserializer::from_str(text))
                .map_err(|failure| (failure.to_string(), line_in(text, &failure))),
            Self::Json => seed
                .deserialize(&mut serde_json::Deserializer::from_str(text))
                .map_err(|failure| (failure.to_string(), Some(failure.line()).filter(|line| *line > 0))),
        }
    }
}

/// The line of an error, counted from 1 as editors count. YAML also begins one at a lone carriage return and at the line
/// separators of Unicode.
pub(super) fn line_in(text: &str, failure: &serde_yaml::Error) -> Option<usize> {
    let at = failure.location()?;
    Some(1 + text.chars().take(at.index()).filter(|c| *c == '\n').count())
}

/// The line of the value at `path`, counted from 1; for an absent value, that of its nearest ancestor.
pub fn line_of(text: &str, syntax: Syntax, path: &KeyPath) -> Option<usize> {
    (1..=path.0.len()).rev().find_map(|n| {
        let (failure, line) = syntax.visit(text, Probe(path.0.get(..n)?)).err()?;
        failure.contains(FOUND).then_some(line)?
    })
}

/// The line on which a second document begins.
pub fn second_document(text: &str) -> Option<usize> {
    let second = serde_yaml::Deserializer::from_str(text).nth(1)?;
    let failure = Land.deserialize(second).err()?;
    Some(line_in(text, &failure).unwrap_or(1))
}

/// What the parser does not complain of, but no file should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// A key that occurs twice in its mapping.
    Duplicate(KeyPath),
    /// A whole number beyond 64 bits. The parser refuses some and rounds others.
    WideNumber(KeyPath),
    /// More than [`MAX_VALUES`] values, those behind an anchor counted each time that they are used.
    TooMany,
}

/// Limit on the values of a text: few files have a thousand, and those that an alias repeats take memory each time.
pub const MAX_VALUES: usize = 1_000_000;

/// The first oddity of a text, with its line. Needs little memory, whatever the text expands to.
pub fn oddity(text: &str, syntax: Syntax) -> Option<(Oddity, Option<usize>)> {
    let trail = Trail::default();
    // A syntax error is reported elsewhere.
    if let Err((failure, line)) = syntax.visit(text, Unique(&trail))
        && failure.contains(FOUND)
    {
        let is_full = trail.values.get() > MAX_VALUES;
        let oddity = if is_full { Oddity::TooMany } else { Oddity::Duplicate(KeyPath(trail.steps.take())) };
        return Some((oddity, line));
    }
    trail.wide.take().into_iter().find_map(|(path, float)| {
        let line = line_of(text, syntax, &path);
        // A float may have been written as one, such as 1e30.
        let written = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
        let is_whole = |float: f64| {
            let mut digits = written.split(|c: char| !c.is_ascii_digit());
            digits.any(|digits| digits.len() >= MIN_WIDE_DIGITS && digits.parse() == Ok(float.abs()))
        };
        float.is_none_or(is_whole).then_some((Oddity::WideNumber(path), line))
    })
}

/// Where the parser fails, as a path; the whole text, if the parser does not.
pub(crate) fn broken_at(text: &str, syntax: Syntax) -> KeyPath {
    let trail = Trail::default();
    match syntax.visit(text, Unique(&trail)) {
        Ok(()) => KeyPath::default(),
        Err(_) => KeyPath(trail.steps.take()),
    }
}

/// The digits of 2^63: a negative number beyond 64 bits has at least as many.
const MIN_WIDE_DIGITS: usize = 19;

/// Where a walk is, and the numbers that it found beyond 64 bits: their paths, and those that were read as floats.
#[derive(Default)]
struct Trail {
    steps: RefCell<Vec<Step>>,
    values: Cell<usize>,
    wide: RefCell<Vec<(KeyPath, Option<f64>)>>,
}

impl Trail {
    fn note_wide(&self, float: Option<f64>) {
        // The first that turns out to be a whole number is reported.
        if self.wide.borrow().len() < 100 {
            self.wide.borrow_mut().push((KeyPath(self.steps.borrow().clone()), float));
        }
    }
}

/// The message of the deliberate error. The control characters keep a key from imitating it.
const FOUND: &str = "\u{1}the key is here\u{1}";

/// Visits of scalars for visitors that only handle mappings and sequences.
macro_rules! ignore_scalars {
    ($value:expr) => {
        ignore_narrow_scalars!($value);

        fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Self::Value, A::Error> {
            let (_, value) = tagged.variant::<IgnoredAny>()?;
            value.newtype_variant::<IgnoredAny>()?;
            Ok($value)
        }
        fn visit_i128<E>(self, _: i128) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

/// The same without the numbers that may have more than 64 bits.
macro_rules! ignore_narrow_scalars {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

/// Follows the given steps and fails at their end.
struct Probe<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let wanted = match self.0 {
            [Step::Key(key), ..] => Some(key.as_str()),
            _ => None,
        };
        let below = self.0.get(1..).unwrap_or_default();
        while let Some(key) = map.next_key_seed(KeyProbe { wanted: wanted.filter(|_| below.is_empty()) })? {
            if wanted.is_some() && key.as_deref() == wanted {
                map.next_value_seed(Probe(below))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut position = 0;
        loop {
            let more = match self.0 {
                [Step::Index(wanted)] if *wanted == position => seq.next_element_seed(Land)?.is_some(),
                [Step::Index(wanted), below @ ..] if *wanted == position => {
                    seq.next_element_seed(Probe(below))?.is_some()
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(());
            }
            position += 1;
        }
    }

    ignore_scalars!(());
}

/// Fails on any value: a visit that a visitor does not define is an error at that value.
struct Land;

impl<'de> DeserializeSeed<'de> for Land {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for Land {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }
}

/// Reads a key as text, and fails on the wanted one. A key that is not a scalar has no text.
struct KeyProbe<'a> {
    wanted: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for KeyProbe<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(KeyText(|key: &str| self.wanted != Some(key)))
    }
}

/// Reads a key as text, and fails if the test is false.
struct KeyText<F>(F);

impl<'de, F: FnOnce(&str) -> bool> Visitor<'de> for KeyText<F> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        if (self.0)(key) { Ok(Some(key.to_owned())) } else { Err(E::custom(FOUND)) }
    }

    fn visit_bool<E: serde::de::Error>(self, key: bool) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, key: i64) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, key: u64) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_i128<E: serde::de::Error>(self, key: i128) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, key: u128) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, key: f64) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.visit_str("null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Self::Value, A::Error> {
        let (_, value) = tagged.variant::<IgnoredAny>()?;
        value.newtype_variant::<IgnoredAny>()?;
        Ok(None)
    }
}

/// Fails on the first duplicate key; the trail then holds its path. Counts values, and notes wide numbers.
#[derive(Clone, Copy)]
struct Unique<'a>(&'a Trail);

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let values = &self.0.values;
        values.set(values.get() + 1);
        if values.get() > MAX_VALUES {
            return Err(serde::de::Error::custom(FOUND));
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key_seed(UniqueKey { trail: &self.0.steps, seen: &mut seen })? {
            self.0.steps.borrow_mut().push(Step::Key(key.unwrap_or_default()));
            map.next_value_seed(self)?;
            self.0.steps.borrow_mut().pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for position in 0.. {
            self.0.steps.borrow_mut().push(Step::Index(position));
            if seq.next_element_seed(self)?.is_none() {
                break;
            }
            self.0.steps.borrow_mut().pop();
        }
        self.0.steps.borrow_mut().pop();
        Ok(())
    }

    ignore_narrow_scalars!(());

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (_, value) = tagged.variant::<IgnoredAny>()?;
        value.newtype_variant_seed(self)
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        self.0.note_wide(None);
        Ok(())
    }

    fn visit_u128<E>(self, _: u128) -> Result<(), E> {
        self.0.note_wide(None);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        if number.is_finite() && (number >= u64::MAX as f64 || number <= i64::MIN as f64) {
            self.0.note_wide(Some(number));
        }
        Ok(())
    }
}

struct UniqueKey<'a> {
    trail: &'a RefCell<Vec<Step>>,
    seen: &'a mut HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for UniqueKey<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let UniqueKey { trail, seen } = self;
        from.deserialize_any(KeyText(|key: &str| {
            let new = seen.insert(key.to_owned());
            if !new {
                trail.borrow_mut().push(Step::Key(key.to_owned()));
            }
            new
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
alyx:
  url: x   # here
  timeouts: {connect: 1 s,
    request: 2 s}
data_roots:
  - /a
  -
    path: /b
\"flags\": &f
  - one
again: *f
";

    fn line(path: KeyPath) -> Option<usize> {
        line_of(TEXT, Syntax::Yaml, &path)
    }

    #[test]
    fn a_key_is_found_on_its_line() {
        assert_eq!(line(KeyPath::of("alyx")), Some(2));
        assert_eq!(line(KeyPath::of("alyx.url")), Some(3));
        assert_eq!(line(KeyPath::of("alyx.timeouts.request")), Some(5));
        assert_eq!(line(KeyPath::of("data_roots").index(0)), Some(7));
        assert_eq!(line(KeyPath::of("data_roots").index(1).key("path")), Some(9));
        assert_eq!(line(KeyPath::of("flags")), Some(10));
    }

    #[test]
    fn an_absent_key_is_located_at_its_section() {
        assert_eq!(line(KeyPath::of("alyx.timeouts.total")), Some(4));
        assert_eq!(line(KeyPath::of("alyx.url.deeper")), Some(3));
        assert_eq!(line(KeyPath::of("data_roots").index(7)), Some(6));
        assert_eq!(line(KeyPath::of("watch.settle")), None);
    }

    #[test]
    fn the_second_of_two_equal_keys_is_the_duplicate() {
        let text = "a:\n  - x: 1\n  - y: 1\n    z: 2\n    y: 3\n";
        let (found, line) = oddity(text, Syntax::Yaml).unwrap();
        let path = KeyPath::of("a").index(1).key("y");
        assert_eq!((found, line), (Oddity::Duplicate(path), Some(5)));
        assert_eq!(oddity(TEXT, Syntax::Yaml), None);
    }

    #[test]
    fn json_has_lines_too() {
        let text = "{\n\t\"a\": [1,\n {\"b\": \"\\ud83d\\ude00\"}],\n \"c\": 1}";
        let path = KeyPath::of("a").index(1).key("b");
        assert_eq!(line_of(text, Syntax::Json, &path), Some(3));
        let twice = "{\"a\": 1,\n\n\"a\": 2}";
        assert_eq!(oddity(twice, Syntax::Json), Some((Oddity::Duplicate(KeyPath::of("a")), Some(3))));
        assert_eq!(oddity(text, Syntax::Json), None);
    }

    #[test]
    fn anchors_that_multiply_are_counted_not_expanded() {
        // The parser itself refuses only what grows in several steps.
        let text = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(2000), "*a, ".repeat(1000));
        assert!(matches!(oddity(&text, Syntax::Yaml), Some((Oddity::TooMany, _))));
    }

    #[test]
    fn a_second_document_is_found_at_its_first_value() {
        assert_eq!(second_document("a: 1\n---\nb: 2\n"), Some(3));
        assert_eq!(second_document("---\na: 1\n"), None);
    }

    #[test]
    fn a_strange_key_is_printed_on_one_line() {
        let path = KeyPath(vec![Step::Key("a\nb".into()), Step::Key("x".repeat(200))]);
        let printed = path.to_string();
        assert!(printed.starts_with(r#""a\nb"."xxx"#), "{printed}");
        assert!(printed.len() < 80, "{printed}");
    }

    #[test]
    fn a_line_is_counted_as_an_editor_counts_it() {
        for (text, line) in
            [("a: 1\nb: [", 2), ("a: 1\r\nb: [", 2), ("(:\r.", 1), ("a: 'x\u{2028}y'\nb: [\n", 3)]
        {
            let failure = serde_yaml::from_str::<serde_yaml::Value>(text).unwrap_err();
            assert_eq!(line_in(text, &failure), Some(line), "{text:?}: {failure}");
        }
    }
}
