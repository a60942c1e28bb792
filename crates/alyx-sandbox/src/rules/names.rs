//! How Alyx reads file names and paths: file name patterns, the session in a path, collection and revision, the type of
//! a dataset. Its bugs are kept, such as a collection that is lost because of a space.

use glob::Pattern;

use crate::rules::time::is_date_shaped;

/// The subject, date and number at the start of a path.
#[derive(Debug, PartialEq)]
pub(crate) struct SessionPart<'a> {
    pub subject: &'a str,
    pub date: &'a str,
    pub number: &'a str,
    pub rest: &'a str,
}

fn label(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Reads `subject/date/number` at the start of a path. Only three digits count: `0001` is number 0.
pub(crate) fn session_part(path: &str) -> Option<SessionPart<'_>> {
    let (subject, rest) = path.split_once('/')?;
    if subject.is_empty() || !subject.chars().all(label) {
        return None;
    }
    let (date, rest) = rest.split_once('/')?;
    let width = rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
    if !is_date_shaped(date) || width == 0 {
        return None;
    }
    let (number, rest) = rest.split_at(width);
    Some(SessionPart { subject, date, number, rest })
}

/// A file's place in a session, as Alyx reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilePlace {
    /// `subject/date/number`, or empty for a file outside a session.
    pub session: String,
    pub collection: String,
    pub revision: String,
    pub filename: String,
}

/// Why Alyx refuses a path.
#[derive(Debug, PartialEq)]
pub(crate) enum BadPlace {
    /// A folder below a revision.
    BelowRevision,
    /// No session, or invalid characters.
    NotAlf,
}

/// Joins as Python's pathlib does: empty and `.` parts vanish, an absolute file name replaces the folder.
fn parts(folder: &str, file: &str) -> Vec<String> {
    let joined = if file.starts_with('/') { file.to_owned() } else { format!("{folder}/{file}") };
    joined.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect()
}

/// The collection at the start of `text`, up to the first character that a collection cannot hold.
fn collection(text: &str) -> &str {
    let end = text.find(|c: char| !(label(c) || c == '/')).unwrap_or(text.len());
    // A slash must follow a collection, so the last slash ends it.
    text[..end].rfind('/').map_or("", |slash| &text[..slash])
}

fn revision(text: &str) -> &str {
    let Some(rest) = text.strip_prefix('#') else { return "" };
    match rest.split_once("#/") {
        Some((name, _)) if !name.is_empty() && name.chars().all(label) => name,
        _ => "",
    }
}

/// Reads collection and revision of a file below a session.
pub(crate) fn place(folder: &str, file: &str) -> Result<FilePlace, BadPlace> {
    let mut parts = parts(folder, file);
    let filename = parts.pop().ok_or(BadPlace::NotAlf)?;
    let path = format!("{}/", parts.join("/"));
    let found = session_part(&path).filter(|s| s.rest.starts_with('/')).ok_or(BadPlace::NotAlf)?;
    let rest = &found.rest[1..];
    let collection = collection(rest);
    let after = if collection.is_empty() { rest } else { &rest[collection.len() + 1..] };
    let revision = revision(after);
    if !revision.is_empty()
        && parts.iter().position(|p| *p == format!("#{revision}#")) != Some(parts.len() - 1)
    {
        return Err(BadPlace::BelowRevision);
    }
    Ok(FilePlace {
        session: format!("{}/{}/{}", found.subject, found.date, found.number),
        collection: collection.to_owned(),
        revision: revision.to_owned(),
        filename,
    })
}

/// Reads collection and revision of a file that belongs to a subject, a tag or a project: every folder counts.
pub(crate) fn aggregate_place(folder: &str, file: &str) -> Result<FilePlace, BadPlace> {
    let mut parts = parts(folder, file);
    let filename = parts.pop().ok_or(BadPlace::NotAlf)?;
    let path = if parts.is_empty() { String::new() } else { format!("{}/", parts.join("/")) };
    let collection = collection(&path);
    let after = if collection.is_empty() { path.as_str() } else { &path[collection.len() + 1..] };
    let revision = revision(after);
    let understood =
        collection.split('/').filter(|p| !p.is_empty()).count() + usize::from(!revision.is_empty());
    if understood != parts.len() {
        return Err(BadPlace::NotAlf);
    }
    let (collection, revision) = (collection.to_owned(), revision.to_owned());
    Ok(FilePlace { session: String::new(), collection, revision, filename })
}

/// A dataset type: its name and its file name pattern.
pub(crate) struct TypePattern {
    name: String,
    /// Lower case; `None` if the file's `object.attribute` is compared with the name.
    pattern: Option<Pattern>,
}

impl TypePattern {
    pub fn new(name: String, pattern: &str) -> TypePattern {
        let pattern = pattern.trim().to_lowercase();
        // An unclosed bracket is literal.
        let parse = |text: &str| Pattern::new(text).or_else(|_| Pattern::new(&Pattern::escape(text))).ok();
        TypePattern { name, pattern: if pattern.is_empty() { None } else { parse(&pattern) } }
    }

    fn matches(&self, lower_case: &str, object_attribute: &str) -> bool {
        self.pattern.as_ref().map_or(self.name == object_attribute, |pattern| pattern.matches(lower_case))
    }
}

/// The type of a file name, or Alyx's message if there is none or more than one.
pub(crate) fn dataset_type<'a>(filename: &str, types: &'a [TypePattern]) -> Result<&'a str, String> {
    let (lower, own) = (filename.to_lowercase(), object_attribute(filename));
    let found: Vec<&str> =
        types.iter().filter(|t| t.matches(&lower, &own)).map(|t| t.name.as_str()).collect();
    match found.as_slice() {
        [] => Err(format!("No dataset type found for filename \"{filename}\"")),
        [one] => Ok(one),
        many => {
            let names: Vec<String> = many.iter().map(|n| format!("<DatasetType {n}>")).collect();
            let names = names.join(", ");
            Err(format!("Multiple matching dataset types found for filename \"{filename}\": \n{names}"))
        }
    }
}

/// `object.attribute` of an ALF name, and the name without its last extension for any other.
fn object_attribute(filename: &str) -> String {
    let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
    let Some((object, rest)) = filename.split_once('.') else { return stem.to_owned() };
    let Some((middle, _)) = rest.split_once('.') else { return stem.to_owned() };
    let word = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !word(object) || !word(middle) {
        return stem.to_owned();
    }
    let object = match object.strip_prefix('_').and_then(|o| o.split_once('_')) {
        Some((namespace, object)) if !namespace.is_empty() && !object.is_empty() => object,
        _ => object,
    };
    let run = middle.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(middle.len());
    let (head, tail) = middle.split_at(run);
    let suffix = ["_times", "_intervals"]
        .into_iter()
        .find(|s| tail.strip_prefix(s).is_some_and(|t| t.is_empty() || t.starts_with('_')));
    format!("{object}.{head}{}", suffix.unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(collection: &str, revision: &str) -> Result<FilePlace, BadPlace> {
        let (collection, revision) = (collection.to_owned(), revision.to_owned());
        Ok(FilePlace {
            session: "KS014/2024-05-01/001".into(),
            collection,
            revision,
            filename: "a.b.npy".into(),
        })
    }

    #[test]
    fn a_path_is_read_as_alyx_reads_it_including_its_bugs() {
        for (file, expected) in [
            ("a.b.npy", at("", "")),
            ("alf/probe00/a.b.npy", at("alf/probe00", "")),
            ("alf/#2024-05-02#/a.b.npy", at("alf", "2024-05-02")),
            ("#r1#/a.b.npy", at("", "r1")),
            ("alf//a.b.npy", at("alf", "")),
            ("../a.b.npy", at("..", "")),
            ("al f/a.b.npy", at("", "")),
            ("alf/#a b#/a.b.npy", at("alf", "")),
            ("alf/#a/a.b.npy", at("alf", "")),
            ("alf/#a#/sub/a.b.npy", Err(BadPlace::BelowRevision)),
            ("#a#/#b#/a.b.npy", Err(BadPlace::BelowRevision)),
            ("/abs/a.b.npy", Err(BadPlace::NotAlf)),
        ] {
            assert_eq!(place("KS014/2024-05-01/001", file), expected, "{file}");
        }
    }

    #[test]
    fn a_session_is_read_only_at_the_beginning_of_a_path() {
        assert_eq!(session_part("my KS014/2024-05-01/001"), None);
        assert_eq!(session_part("lab/Subjects/KS014/2024-05-01/001"), None);
        let cut = session_part("KS014/2024-05-01/0001").unwrap();
        assert_eq!((cut.number, cut.rest), ("000", "1"));
    }

    #[test]
    fn patterns_match_like_the_shell() {
        for (name, pattern, expected) in [
            ("spikes.times.npy", "*spikes.times*.npy", true),
            ("_ibl_wheel.position.npy", "*wheel.position.*", true),
            ("spikes.times.xyz", "*spikes.times*.npy", false),
            ("foo.bir.npy", "foo.b?r*", true),
            ("a1", "a[0-9]", true),
            ("ab", "a[!0-9]", true),
            ("", "*", true),
        ] {
            assert_eq!(TypePattern::new("x".into(), pattern).matches(name, ""), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn a_type_without_pattern_is_found_by_object_and_attribute() {
        let types =
            [TypePattern::new("mpci.times".into(), ""), TypePattern::new("foo.bar".into(), "*FOO.b?r*")];
        assert_eq!(dataset_type("_ns_mpci.times_clock.extra.npy", &types), Ok("mpci.times"));
        assert_eq!(dataset_type("Foo.Bar.npy", &types), Ok("foo.bar"));
        let none = dataset_type("x.y.npy", &types).unwrap_err();
        assert_eq!(none, "No dataset type found for filename \"x.y.npy\"");
    }
}
