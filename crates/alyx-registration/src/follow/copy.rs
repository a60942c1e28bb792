//! The decision about one copy: whether it may be called complete. Pure.

use std::time::Duration;

use crate::hashing::md5_sum::Md5Sum;

/// What a copy is compared by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FollowMode {
    /// Size and MD5.
    #[default]
    Md5,
    /// Size alone.
    Size,
    /// Copies are not looked for.
    Off,
}

/// What Alyx says of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// In bytes.
    pub(crate) size: Option<u64>,
    /// As it is written there; empty counts as absent.
    pub(crate) hash: Option<String>,
}

/// What the disk says of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// None of its names is there: `ENOENT`, and nothing else.
    Absent,
    /// It is no copy: the source under another path, or not in the repository.
    NoCopy(String),
    /// The disk does not say.
    Unreadable(String),
    /// A file.
    File {
        /// In bytes.
        size: u64,
        /// How long to wait until it may be quiet; `None`: nothing changes it any more.
        changing: Option<Duration>,
        /// Its MD5, once it has been read.
        md5: Option<Md5Sum>,
    },
}

/// What follows from both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not there yet.
    Absent,
    /// It is still written.
    Changing(Duration),
    /// Its MD5 has to be known.
    Read,
    /// It is complete.
    Agrees,
    /// It is another file.
    Differs {
        expected: String,
        found: String,
    },
    /// Alyx holds nothing by which it could be compared.
    Unchecked(&'static str),
    NoCopy(String),
    Unreadable(String),
}

/// Decides about a copy.
///
/// The order matters: a file that is still written is not read, and one of another size need not be.
pub(crate) fn judge(expected: &Expected, seen: &Seen, mode: FollowMode) -> Verdict {
    let (size, changing, md5) = match seen {
        Seen::Absent => return Verdict::Absent,
        Seen::NoCopy(why) => return Verdict::NoCopy(why.clone()),
        Seen::Unreadable(why) => return Verdict::Unreadable(why.clone()),
        Seen::File { size, changing, md5 } => (*size, *changing, *md5),
    };
    if let Some(wait) = changing {
        return Verdict::Changing(wait);
    }
    if let Some(expected) = expected.size.filter(|expected| *expected != size) {
        return Verdict::Differs { expected: bytes(expected), found: bytes(size) };
    }
    let hash = expected.hash.as_deref().filter(|hash| !hash.is_empty());
    match (mode, expected.size, hash) {
        (FollowMode::Off, ..) | (FollowMode::Size, None, _) => Verdict::Unchecked("no size"),
        (FollowMode::Size, Some(_), _) => Verdict::Agrees,
        (FollowMode::Md5, _, None) => Verdict::Unchecked("no hash"),
        (FollowMode::Md5, _, Some(hash)) => match (Md5Sum::parse(&hash.to_ascii_lowercase()), md5) {
            (None, _) => Verdict::Unchecked("no MD5"),
            (Some(_), None) => Verdict::Read,
            (Some(held), Some(own)) if held == own => Verdict::Agrees,
            (Some(held), Some(own)) => {
                Verdict::Differs { expected: format!("MD5 {held}"), found: format!("MD5 {own}") }
            }
        },
    }
}

fn bytes(size: u64) -> String {
    if size == 1 { "1 byte".to_owned() } else { format!("{size} bytes") }
}

/// The paths that a copy may have in a repository: as it was registered, or with the UUID of its dataset before the last
/// extension, as Globus jobs and Alyx's own addresses have it. Temporary names of copying programs are never among them.
///
/// The path comes from the server: without one that stays below the repository there is none.
pub(crate) fn names(relative_path: &str, dataset: &str) -> Vec<String> {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !relative_path.split('/').all(is_plain) || relative_path.contains('\0') {
        return Vec::new();
    }
    let mut names = vec![relative_path.to_owned()];
    let (folder, name) =
        relative_path.rsplit_once('/').map_or(("", relative_path), |(folder, name)| (folder, name));
    if let Some((stem, extension)) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())
        && uuid_like(dataset)
    {
        let slash = if folder.is_empty() { "" } else { "/" };
        names.push(format!("{folder}{slash}{stem}.{dataset}.{extension}"));
    }
    names
}

fn uuid_like(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "900150983cd24fb0d6963f7d28e17f72";
    const OTHER: &str = "0cc175b9c0f1b6a831c399e269772661";
    const UUID: &str = "75e81b75-3d09-4f1e-870d-12253e550198";

    fn expected(size: Option<u64>, hash: Option<&str>) -> Expected {
        Expected { size, hash: hash.map(str::to_owned) }
    }

    fn file(size: u64, changing: Option<u64>, md5: Option<&str>) -> Seen {
        let changing = changing.map(Duration::from_secs);
        Seen::File { size, changing, md5: md5.map(|md5| Md5Sum::parse(md5).unwrap()) }
    }

    #[test]
    fn a_copy_is_complete_only_when_it_is_quiet_and_its_content_agrees() {
        let abc = expected(Some(3), Some(ABC));
        let differs =
            |expected: &str, found: &str| Verdict::Differs { expected: expected.into(), found: found.into() };
        let second = Duration::from_secs(1);
        for (expected, seen, mode, verdict) in [
            (&abc, Seen::Absent, FollowMode::Md5, Verdict::Absent),
            // Whatever its size: it grows.
            (&abc, file(1, Some(1), None), FollowMode::Md5, Verdict::Changing(second)),
            (&abc, file(3, Some(1), None), FollowMode::Size, Verdict::Changing(second)),
            (&abc, file(1, None, None), FollowMode::Md5, differs("3 bytes", "1 byte")),
            (&abc, file(1, None, None), FollowMode::Size, differs("3 bytes", "1 byte")),
            (&abc, file(3, None, None), FollowMode::Md5, Verdict::Read),
            (&abc, file(3, None, Some(ABC)), FollowMode::Md5, Verdict::Agrees),
            (&abc, file(3, None, None), FollowMode::Size, Verdict::Agrees),
            (
                &abc,
                file(3, None, Some(OTHER)),
                FollowMode::Md5,
                differs(&format!("MD5 {ABC}"), &format!("MD5 {OTHER}")),
            ),
            (
                &expected(Some(3), Some(&ABC.to_uppercase())),
                file(3, None, Some(ABC)),
                FollowMode::Md5,
                Verdict::Agrees,
            ),
            (&expected(None, Some(ABC)), file(3, None, Some(ABC)), FollowMode::Md5, Verdict::Agrees),
            // Never without what the mode compares.
            (
                &expected(Some(3), None),
                file(3, None, Some(ABC)),
                FollowMode::Md5,
                Verdict::Unchecked("no hash"),
            ),
            (
                &expected(Some(3), Some("")),
                file(3, None, None),
                FollowMode::Md5,
                Verdict::Unchecked("no hash"),
            ),
            (
                &expected(Some(3), Some("sha:1")),
                file(3, None, None),
                FollowMode::Md5,
                Verdict::Unchecked("no MD5"),
            ),
            (
                &expected(None, Some(ABC)),
                file(3, None, None),
                FollowMode::Size,
                Verdict::Unchecked("no size"),
            ),
            (&abc, Seen::NoCopy("x".into()), FollowMode::Md5, Verdict::NoCopy("x".into())),
            (&abc, Seen::Unreadable("EIO".into()), FollowMode::Size, Verdict::Unreadable("EIO".into())),
        ] {
            assert_eq!(judge(expected, &seen, mode), verdict, "{expected:?} {seen:?} {mode:?}");
        }
    }

    #[test]
    fn a_copy_has_its_own_name_or_that_with_the_uuid_of_its_dataset() {
        let path = "KS014/2024-05-01/001/alf/spikes.times.npy";
        let with_uuid = format!("KS014/2024-05-01/001/alf/spikes.times.{UUID}.npy");
        assert_eq!(names(path, UUID), [path.to_owned(), with_uuid]);
        assert_eq!(names(path, "no-uuid"), [path]);
        assert_eq!(names("a.b.npy", UUID), ["a.b.npy".to_owned(), format!("a.b.{UUID}.npy")]);
        for path in ["../x.y.npy", "/etc/passwd", "a//b", "", "a/./b", "a/.."] {
            assert!(names(path, UUID).is_empty(), "{path}");
        }
    }

    #[test]
    fn the_temporary_name_of_a_copying_program_is_never_looked_for() {
        let names = names("alf/spikes.times.npy", UUID);
        for temporary in [
            "alf/.spikes.times.npy.a1B2c3",
            "alf/spikes.times.npy.8f3a11c0.partial",
            "alf/spikes.times.npy.partial",
            "alf/spikes.times.npy.filepart",
            "alf/.~tmp~/spikes.times.npy",
        ] {
            assert!(!names.iter().any(|name| name == temporary), "{temporary}");
        }
    }
}
