//! The known keys, derived from the document's types, so that there is only one list.

use serde::Deserialize;
use serde::de::value::Error as Stop;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Value;
use session_metadata::text::locate::KeyPath;

/// The keys that a value can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// A plain value, which its type validates.
    Leaf,
    /// A mapping with these keys, in the order of the type.
    Section(Vec<(&'static str, Keys)>),
    /// A list with items of this form.
    List(Box<Keys>),
}

impl Keys {
    /// The keys of a document type, found by deserializing it from a [`Listener`].
    pub(super) fn of<'de, T: Deserialize<'de>>() -> Keys {
        let mut keys = Keys::Leaf;
        // The result does not matter: the keys are recorded even if a type refuses the empty values.
        let _ = T::deserialize(Listener(&mut keys));
        keys
    }

    /// Dotted paths of everything that is not a section, `[]` marking a list of sections.
    pub(super) fn leaves(&self) -> Vec<String> {
        fn walk(keys: &Keys, path: &str, out: &mut Vec<String>) {
            match keys {
                Keys::Leaf => out.push(path.to_owned()),
                Keys::List(item) => walk(item, &format!("{path}[]"), out),
                Keys::Section(fields) => {
                    for (name, below) in fields {
                        let path =
                            if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
                        walk(below, &path, out);
                    }
                }
            }
        }
        let mut out = Vec::new();
        walk(self, "", &mut out);
        out
    }

    /// Removes unknown keys from `value`, and passes each to `refuse`.
    ///
    /// The rest deserializes into the type without an error about keys or sections.
    pub(super) fn prune(&self, value: &mut Value, path: &KeyPath, refuse: &mut impl FnMut(KeyPath, String)) {
        let all = self.leaves();
        self.prune_below(value, path, &all, refuse);
    }

    fn prune_below(
        &self,
        value: &mut Value,
        path: &KeyPath,
        all: &[String],
        refuse: &mut impl FnMut(KeyPath, String),
    ) {
        match (self, &mut *value) {
            (Keys::Leaf, _) | (_, Value::Null) => {}
            (Keys::List(item), Value::Sequence(items)) => {
                for (i, value) in items.iter_mut().enumerate() {
                    item.prune_below(value, &path.index(i), all, refuse);
                }
            }
            (Keys::Section(fields), Value::Mapping(mapping)) => {
                mapping.retain(|key, value| {
                    let name = match key {
                        Value::String(name) => name.clone(),
                        Value::Bool(b) => b.to_string(),
                        Value::Number(n) => n.to_string(),
                        Value::Null => "null".to_owned(),
                        _ => {
                            refuse(path.clone(), "a key must be a plain word".to_owned());
                            return false;
                        }
                    };
                    match fields.iter().find(|(known, _)| key.as_str() == Some(*known)) {
                        Some((known, below)) => {
                            below.prune_below(value, &path.key(known), all, refuse);
                            true
                        }
                        None => {
                            refuse(path.key(&name), unknown_key(&name, path, fields, all));
                            false
                        }
                    }
                });
            }
            (Keys::List(_), _) => {
                refuse(path.clone(), "this must be a list: one line each, beginning with a dash".to_owned());
                *value = Value::Null;
            }
            (Keys::Section(_), _) => {
                let what = if path.0.is_empty() { "the file" } else { "this" };
                refuse(path.clone(), format!("{what} must be a section of `key: value` lines"));
                *value = Value::Null;
            }
        }
    }
}

/// What to do about an unknown key.
fn unknown_key(name: &str, section: &KeyPath, siblings: &[(&'static str, Keys)], all: &[String]) -> String {
    let simple = |s: &str| s.to_lowercase().replace(['-', ' '], "_");
    let name = simple(name);
    if matches!(name.as_str(), "password" | "passwd" | "pwd") {
        return "a password must not be in this file; put it into a file of mode 600 and name that with \
                alyx.password_file"
            .to_owned();
    }
    if name == "token" {
        return "a token must not be in this file; put it into a file of mode 600 and name that with \
                alyx.token_file"
            .to_owned();
    }
    if matches!(name.as_str(), "webhook" | "webhook_url" | "url") && section.to_string() == "alerts" {
        return "the address of a webhook is a secret and must not be in this file; put it into a file of mode 600 and \
                name that with alerts.webhook_file"
            .to_owned();
    }
    let near = siblings
        .iter()
        .map(|(known, _)| (edits(&name, known), *known))
        .filter(|(n, known)| *n <= 1 + known.len() / 5)
        .min();
    if let Some((_, known)) = near {
        return format!("unknown key; did you mean {known}?");
    }
    // A known key in the wrong section, usually because of the indentation.
    let elsewhere = all.iter().find(|path| path.rsplit('.').next() == Some(&name));
    if let Some(path) = elsewhere {
        return format!("unknown key here; did you mean {path}? Mind the indentation");
    }
    let known: Vec<&str> = siblings.iter().map(|(known, _)| *known).collect();
    let place = if section.0.is_empty() { "at the top".to_owned() } else { format!("in {section}") };
    format!("unknown key; known {place}: {}", known.join(", "))
}

/// The edit distance with transpositions. Compares only the first 64 letters, because a key may be as long as the file.
fn edits(typed: &str, known: &str) -> usize {
    let start: String = typed.chars().take(64).collect();
    strsim::osa_distance(&start, known)
}

/// A deserializer without data: it records the keys that a type asks for, and returns only empty values.
struct Listener<'a>(&'a mut Keys);

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        *self.0 = Keys::Section(fields.iter().map(|name| (*name, Keys::Leaf)).collect());
        let Keys::Section(found) = self.0 else { return visitor.visit_unit() };
        visitor.visit_map(Fields { rest: found.iter_mut(), value: None })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.0 = Keys::List(Box::new(Keys::Leaf));
        let Keys::List(item) = self.0 else { return visitor.visit_unit() };
        visitor.visit_seq(OneItem(Some(item.as_mut())))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct newtype_struct tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'a> {
    rest: std::slice::IterMut<'a, (&'static str, Keys)>,
    value: Option<&'a mut Keys>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some((name, below)) = self.rest.next() else { return Ok(None) };
        self.value = Some(below);
        seed.deserialize(serde::de::value::StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let mut nowhere = Keys::Leaf;
        seed.deserialize(Listener(self.value.take().unwrap_or(&mut nowhere)))
    }
}

struct OneItem<'a>(Option<&'a mut Keys>);

impl<'de> SeqAccess<'de> for OneItem<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        self.0.take().map(|item| seed.deserialize(Listener(item))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_missing_and_wrong_letters_count_one_edit_each() {
        assert_eq!(edits("wrokers", "workers"), 1);
        assert_eq!(edits("worker", "workers"), 1);
        assert_eq!(edits("workers", "workers"), 0);
        assert_eq!(edits("", "ab"), 2);
        assert_eq!(edits("users", "url"), 3);
    }
}
