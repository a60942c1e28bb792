//! How Alyx reads file names and paths: file name patterns, the session in a path, collection and revision,
//! the type of a dataset. Its lapses are kept, a collection lost over a space among them.

/// Whether a name matches a shell pattern (`*`, `?`, `[seq]`, `[!seq]`). Both are compared as given.
fn matches(name: &[char], pattern: &[char]) -> bool {
    let (mut n, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => in_class(name[n], &pattern[p..]),
            Some(c) if *c == name[n] => Some(1),
            _ => None,
        };
        match (step, retry) {
            (Some(width), _) => {
                p += width;
                n += 1;
            }
            (None, Some((star, from))) => {
                retry = Some((star, from + 1));
                p = star + 1;
                n = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The width of the bracket expression that a pattern begins with, if it takes the character.
fn in_class(c: char, pattern: &[char]) -> Option<usize> {
    let negated = pattern.get(1) == Some(&'!');
    let start = if negated { 2 } else { 1 };
    // A `]` that comes first is a member, and a bracket that is never closed is itself.
    let Some(end) = pattern.iter().skip(start + 1).position(|x| *x == ']').map(|i| i + start + 1) else {
        return (c == '[').then_some(1);
    };
    let mut inside = false;
    let mut i = start;
    while i < end {
        if i + 2 < end && pattern[i + 1] == '-' {
            inside |= pattern[i] <= c && c <= pattern[i + 2];
            i += 3;
        } else {
            inside |= pattern[i] == c;
            i += 1;
        }
    }
    (inside != negated).then_some(end + 1)
}

/// The subject, date and number that a path begins with.
#[derive(Debug, PartialEq)]
pub(super) struct SessionPart<'a> {
    pub subject: &'a str,
    pub date: &'a str,
    pub number: &'a str,
    pub rest: &'a str,
}

fn label(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Reads `subject/date/number` from the very beginning of a path. Only three digits are taken: `0001` is number 0.
pub(super) fn session_part(path: &str) -> Option<SessionPart<'_>> {
    let (subject, rest) = path.split_once('/')?;
    if subject.is_empty() || !subject.chars().all(label) {
        return None;
    }
    let (date, rest) = rest.split_once('/')?;
    let dashes = date.len() == 10
        && date
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    let width = rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
    if !dashes || width == 0 {
        return None;
    }
    let (number, rest) = rest.split_at(width);
    Some(SessionPart { subject, date, number, rest })
}

/// A file's place in a session, as Alyx understands it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FilePlace {
    /// `subject/date/number`, or nothing for a file that belongs to no session.
    pub session: String,
    pub collection: String,
    pub revision: String,
    pub filename: String,
}

/// Why Alyx refuses a path.
#[derive(Debug, PartialEq)]
pub(super) enum BadPlace {
    /// A folder below a revision.
    BelowRevision,
    /// No session, or characters that may not be there.
    NotAlf,
}

/// Joins and tidies as Python's pathlib: empty and `.` parts vanish, an absolute file name replaces the folder.
fn parts(folder: &str, file: &str) -> Vec<String> {
    let joined = if file.starts_with('/') { file.to_owned() } else { format!("{folder}/{file}") };
    joined.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect()
}

/// The longest run of characters that may stand in a collection, and where it stops.
fn collection(text: &str) -> &str {
    let end = text.find(|c: char| !(label(c) || c == '/')).unwrap_or(text.len());
    // A collection is followed by a slash: cut at the last one.
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
pub(super) fn place(folder: &str, file: &str) -> Result<FilePlace, BadPlace> {
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
pub(super) fn aggregate_place(folder: &str, file: &str) -> Result<FilePlace, BadPlace> {
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
pub(super) struct TypePattern {
    name: String,
    /// Lower case; empty: the file's `object.attribute` is compared with the name.
    pattern: Vec<char>,
}

impl TypePattern {
    pub fn new(name: String, pattern: &str) -> TypePattern {
        TypePattern { name, pattern: pattern.trim().to_lowercase().chars().collect() }
    }
}

/// The one type of a file name, or what Alyx says where there is none or more than one.
pub(super) fn dataset_type<'a>(filename: &str, types: &'a [TypePattern]) -> Result<&'a str, String> {
    let lower: Vec<char> = filename.to_lowercase().chars().collect();
    let own = object_attribute(filename);
    let found: Vec<&str> = types
        .iter()
        .filter(|t| if t.pattern.is_empty() { t.name == own } else { matches(&lower, &t.pattern) })
        .map(|t| t.name.as_str())
        .collect();
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

/// `object.attribute` of an ALF name; of any other name, the name without its last extension.
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
    fn a_path_is_read_as_alyx_reads_it_lapses_included() {
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
            let chars = |s: &str| s.chars().collect::<Vec<char>>();
            assert_eq!(matches(&chars(name), &chars(pattern)), expected, "{name} {pattern}");
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
