//! A revision: chooses the `#folder#` for a file whose dataset Alyx protects. Moves nothing.

use jiff::civil::Date;

use crate::DatasetPath;
use crate::characters::is_label;

/// Where a file is to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevisionPlan {
    /// Where it is.
    Keep,
    /// In this revision (without `#`), whose folder is in the file's collection; see
    /// [`DatasetPath::with_revision`]. The file must be moved first.
    MoveTo(String),
}

/// Why there is no revision to move to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// The name holds characters that a revision cannot have.
    #[error(
        "{0:?} is not a revision (letters, digits, '_', '-' and '.'): ask your Alyx admin to rename it, or give the file a revision folder of your own"
    )]
    Name(String),
    /// The first suffix is neither a letter nor a digit.
    #[error("a revision cannot end with {0:?}: start with a letter, such as 'a'")]
    Alpha(char),
}

/// The first of `revision` + `alpha`, `revision` + the next letter, … that is not reserved.
///
/// As `RegistrationClient._next_revision`, but after `z` comes `za`, not `{`.
///
/// # Errors
/// [`RevisionError`] if `revision` holds other characters than a revision can, or `alpha` is not a letter or digit.
///
/// ```
/// use alf::revision::next_revision;
///
/// assert_eq!(next_revision("2024-05-01", &[], 'a').unwrap(), "2024-05-01a");
/// assert_eq!(next_revision("2024-05-01", &["2024-05-01a"], 'a').unwrap(), "2024-05-01b");
/// assert_eq!(next_revision("2024-05-01", &["2024-05-01z"], 'z').unwrap(), "2024-05-01za");
/// ```
pub fn next_revision(revision: &str, reserved: &[&str], alpha: char) -> Result<String, RevisionError> {
    if !is_label(revision) {
        return Err(RevisionError::Name(revision.to_owned()));
    }
    if !alpha.is_ascii_alphanumeric() {
        return Err(RevisionError::Alpha(alpha));
    }
    let mut stem = revision.to_owned();
    let mut letter = alpha;
    loop {
        let candidate = format!("{stem}{letter}");
        if !reserved.contains(&candidate.as_str()) {
            return Ok(candidate);
        }
        letter = match letter {
            '9' => 'A',
            'Z' => 'a',
            'z' => {
                stem.push('z');
                'a'
            }
            c => char::from_u32(u32::from(c) + 1).unwrap_or('a'),
        };
    }
}

/// Where a file goes when Alyx says that some dataset of its request is protected.
///
/// `protection` is what the 403 of `POST /register-file` says about this file: the revisions of its dataset, latest
/// first, and whether each is protected; the original is `""`. `today` names a new revision.
///
/// The rules are those of ONE's `register_files`, with one addition: if today's revision is protected but not the
/// latest, ONE moves the file there and Alyx refuses it; this function takes the next letter instead.
///
/// # Errors
/// [`RevisionError::Name`] if the server names a revision that cannot be a folder.
///
/// ```
/// use alf::{DatasetPath, RevisionPlan, revision};
/// use std::path::Path;
///
/// let file = DatasetPath::parse(Path::new("alf/spikes.times.npy")).unwrap();
/// let today = jiff::civil::date(2024, 5, 1);
/// let protected_original = [("".to_owned(), true)];
/// let plan = revision::plan(&file, &protected_original, today).unwrap();
/// assert_eq!(plan, RevisionPlan::MoveTo("2024-05-01".into()));
/// ```
pub fn plan(
    file: &DatasetPath,
    protection: &[(String, bool)],
    today: Date,
) -> Result<RevisionPlan, RevisionError> {
    let Some((latest, latest_is_protected)) = protection.first() else {
        // Not registered yet: another file of the request is the protected one.
        return Ok(RevisionPlan::Keep);
    };
    let protected: Vec<&str> =
        protection.iter().filter(|(_, protected)| *protected).map(|(name, _)| name.as_str()).collect();

    if let Some(own) = file.revision() {
        return if protected.contains(&own) {
            next_revision(own, &protected, 'a').map(RevisionPlan::MoveTo)
        } else {
            Ok(RevisionPlan::Keep)
        };
    }

    let today = today.to_string();
    if !latest_is_protected {
        if latest.is_empty() {
            return Ok(RevisionPlan::Keep);
        }
        if begins_with_date(latest) {
            return if is_label(latest) {
                Ok(RevisionPlan::MoveTo(latest.clone()))
            } else {
                Err(RevisionError::Name(latest.clone()))
            };
        }
        // Named by hand: not ours to overwrite.
    } else if *latest != today && latest.contains(&today) {
        // Today's revision with a letter already, such as `2024-05-01c`: continue from that letter.
        let alpha = latest.chars().next_back().filter(char::is_ascii_alphanumeric).unwrap_or('a');
        return next_revision(&today, &protected, alpha).map(RevisionPlan::MoveTo);
    }
    if protected.contains(&today.as_str()) {
        return next_revision(&today, &protected, 'a').map(RevisionPlan::MoveTo);
    }
    Ok(RevisionPlan::MoveTo(today))
}

/// Whether the first ten characters are a date as ONE's `strptime('%Y-%m-%d')` reads it: `2024-5-1` counts.
fn begins_with_date(revision: &str) -> bool {
    let head: String = revision.chars().take(10).collect();
    is_loose_date(&head)
}

/// A day that exists, as `strptime('%Y-%m-%d')` accepts it: month and day may lack their zero.
pub(crate) fn is_loose_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let digits = |part: &str, longest: usize| {
        (1..=longest).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit())
    };
    if year.len() != 4 || !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return false;
    }
    let (Ok(year), Ok(month), Ok(day)) = (year.parse::<i16>(), month.parse(), day.parse()) else {
        return false;
    };
    year > 0 && Date::new(year, month, day).is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    /// The plan for a file on 2024-05-01, given the server's answer.
    fn planned(file: &str, protection: &[(&str, bool)]) -> RevisionPlan {
        let file = DatasetPath::parse(Path::new(file)).unwrap();
        let protection: Vec<_> = protection.iter().map(|(name, p)| ((*name).to_owned(), *p)).collect();
        plan(&file, &protection, date(2024, 5, 1)).unwrap()
    }

    fn move_to(revision: &str) -> RevisionPlan {
        RevisionPlan::MoveTo(revision.to_owned())
    }

    #[test]
    fn a_file_that_is_not_registered_stays() {
        assert_eq!(planned("a.b.c", &[]), RevisionPlan::Keep);
        assert_eq!(planned("#v1#/a.b.c", &[]), RevisionPlan::Keep);
    }

    #[test]
    fn the_files_own_revision_is_kept_unless_it_is_protected() {
        assert_eq!(planned("#v1#/a.b.c", &[("", true)]), RevisionPlan::Keep);
        assert_eq!(planned("#v1#/a.b.c", &[("v1", false), ("", true)]), RevisionPlan::Keep);
        assert_eq!(planned("#v1#/a.b.c", &[("v1", true)]), move_to("v1a"));
        assert_eq!(planned("#v1#/a.b.c", &[("v1b", true), ("v1", true), ("v1a", true)]), move_to("v1c"));
        // An unprotected sub-revision may be written again.
        assert_eq!(planned("#v1#/a.b.c", &[("v1a", false), ("v1", true)]), move_to("v1a"));
    }

    #[test]
    fn an_original_moves_only_when_it_is_protected() {
        assert_eq!(planned("alf/a.b.c", &[("", false)]), RevisionPlan::Keep);
        assert_eq!(planned("alf/a.b.c", &[("", true)]), move_to("2024-05-01"));
        assert_eq!(planned("alf/a.b.c", &[("2022-10-31", true), ("", true)]), move_to("2024-05-01"));
    }

    #[test]
    fn the_latest_revision_is_used_again_where_it_is_dated_and_free() {
        for latest in ["2022-10-31", "2022-10-31b", "2022-1-2", "2024-05-01"] {
            assert_eq!(planned("a.b.c", &[(latest, false), ("", true)]), move_to(latest));
        }
        for latest in ["v1.0", "2022-13-31", "2022-1-2b", "manual-2022-10-31", "2022-02-30"] {
            assert_eq!(planned("a.b.c", &[(latest, false), ("", true)]), move_to("2024-05-01"), "{latest}");
        }
    }

    #[test]
    fn a_protected_revision_of_today_is_counted_on() {
        assert_eq!(planned("a.b.c", &[("2024-05-01", true)]), move_to("2024-05-01a"));
        assert_eq!(planned("a.b.c", &[("2024-05-01c", true), ("2024-05-01", true)]), move_to("2024-05-01d"));
        assert_eq!(planned("a.b.c", &[("2024-05-01z", true)]), move_to("2024-05-01za"));
        let to_z: Vec<(String, bool)> = ('a'..='z')
            .rev()
            .map(|c| (format!("2024-05-01{c}"), true))
            .chain([("2024-05-01za".into(), true)])
            .collect();
        let file = DatasetPath::parse(Path::new("a.b.c")).unwrap();
        assert_eq!(plan(&file, &to_z, date(2024, 5, 1)), Ok(move_to("2024-05-01zb")));
    }

    #[test]
    fn a_protected_revision_of_today_is_avoided_even_where_it_is_not_the_latest() {
        assert_eq!(planned("a.b.c", &[("v2", true), ("2024-05-01", true)]), move_to("2024-05-01a"));
        assert_eq!(planned("a.b.c", &[("v2", false), ("2024-05-01", true)]), move_to("2024-05-01a"));
    }

    #[test]
    fn a_revision_that_cannot_be_a_folder_is_refused() {
        let file = DatasetPath::parse(Path::new("a.b.c")).unwrap();
        let answer = [("2024-01-01/../..".to_owned(), false)];
        let error = plan(&file, &answer, date(2024, 5, 1)).unwrap_err();
        assert_eq!(error, RevisionError::Name("2024-01-01/../..".into()));
        assert!(next_revision("a b", &[], 'a').is_err());
        for alpha in ['{', '/', '-', ' ', 'é'] {
            assert_eq!(next_revision("v1", &[], alpha), Err(RevisionError::Alpha(alpha)));
        }
    }

    proptest! {
        #[test]
        fn a_plan_never_names_a_protected_revision_nor_leaves_the_revisions_characters(
            own in proptest::option::of("[a-z0-9.-]{1,3}"),
            protection in proptest::collection::vec(("(2024-05-01[a-z0-9]{0,2}|[a-z0-9.-]{0,3})", any::<bool>()), 0..40),
        ) {
            let path = own.map_or("a.b.c".to_owned(), |own| format!("#{own}#/a.b.c"));
            let file = DatasetPath::parse(Path::new(&path)).unwrap();
            // Alyx lists every revision once.
            let mut seen = std::collections::HashSet::new();
            let protection: Vec<_> = protection.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
            let target = match plan(&file, &protection, date(2024, 5, 1)).unwrap() {
                RevisionPlan::Keep => file.clone(),
                RevisionPlan::MoveTo(revision) => file.with_revision(&revision).unwrap(),
            };
            let revision = target.revision().unwrap_or_default();
            prop_assert!(!protection.iter().any(|(name, protected)| *protected && name == revision) );
        }
    }
}
