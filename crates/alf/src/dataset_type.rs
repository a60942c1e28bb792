//! Dataset types: which registered kind of data a file name belongs to.

use std::collections::{HashMap, HashSet};

use regex::{RegexSet, RegexSetBuilder};

use crate::DatasetName;
use crate::file_pattern::{FilePattern, fold};

/// Size limit of all compiled patterns together, in bytes; a real database needs about 100,000.
const SIZE_LIMIT: usize = 64 << 20;

/// Size of the lazy DFA's cache, in bytes per thread. With the default (2 MiB) the patterns of Alyx's own types evict
/// each other's states, and a name takes ten times as long.
const STATES_LIMIT: usize = 16 << 20;

/// One dataset type of an Alyx database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetType {
    /// Name, such as `spikes.times`.
    pub name: String,
    /// Pattern of file names (`fnmatch`); empty if the name decides.
    pub filename_pattern: String,
}

/// All dataset types and file extensions of one Alyx database, ready to classify file names.
///
/// The rules are those of ONE's `get_dataset_type` and `prepare_files`, which the server repeats: a type's pattern
/// is compared with the whole file name, without regard to case; a type without a pattern takes the names whose
/// `object.attribute` (or, for a name that is not ALF, everything before the extension) is the type's name.
///
/// ```
/// use alf::{DatasetType, DatasetTypes};
///
/// let of = |name: &str, pattern: &str| DatasetType { name: name.into(), filename_pattern: pattern.into() };
/// let types = DatasetTypes::new(
///     vec![of("spikes.times", "*spikes.times*.npy"), of("mpci.times", "")],
///     vec![".npy".into(), "".into()],
/// );
/// assert_eq!(types.find("_ibl_spikes.times.npy").unwrap().name, "spikes.times");
/// assert_eq!(types.find("mpci.times_scope.npy").unwrap().name, "mpci.times");
/// assert!(types.find("spikes.times.NPY").is_err());
/// assert!(types.find("spikes.amps.npy").is_err());
/// ```
#[derive(Debug, Clone, Default)]
pub struct DatasetTypes {
    types: Vec<DatasetType>,
    pub(crate) extensions: HashSet<String>,
    /// Patterns of the types whose indices are in `patterned`, for folded names.
    patterns: RegexSet,
    patterned: Vec<usize>,
    /// Types without a pattern, by name.
    pub(crate) by_name: HashMap<String, Vec<usize>>,
    problems: Vec<String>,
}

/// Why a file name cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDatasetType {
    /// No data format of the database has the extension.
    #[error(
        "Alyx has no data format for the extension {0:?}: ask your Alyx admin to add it, if such files are to be registered"
    )]
    UnknownExtension(String),
    /// No dataset type matches.
    #[error(
        "no dataset type of Alyx matches the file name: correct the name, or ask your Alyx admin to add the type"
    )]
    None,
    /// Several dataset types match; their names.
    #[error(
        "several dataset types of Alyx match the file name ({}): ask your Alyx admin to make their patterns stricter",
        .0.join(", ")
    )]
    Several(Vec<String>),
}

impl DatasetTypes {
    /// From the answers of `/dataset-types` and `/data-formats`.
    ///
    /// Empty extensions are ignored: two of Alyx's data formats have one, and it would match every name. A pattern
    /// that cannot be used matches nothing and is listed in [`problems`](Self::problems).
    pub fn new(types: Vec<DatasetType>, extensions: Vec<String>) -> Self {
        let mut problems = Vec::new();
        let mut known = HashSet::new();
        for extension in extensions.into_iter().filter(|extension| !extension.trim().is_empty()) {
            if known.contains(&extension) {
                problems.push(format!(
                    "several data formats have the extension {extension:?}, and Alyx will refuse such files: ask your Alyx admin to remove all but one"
                ));
            }
            known.insert(extension);
        }

        let mut patterned = Vec::new();
        let mut regexes = Vec::new();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, kind) in types.iter().enumerate() {
            if kind.filename_pattern.trim().is_empty() {
                by_name.entry(kind.name.clone()).or_default().push(index);
                continue;
            }
            match FilePattern::parse(&kind.filename_pattern) {
                Ok(pattern) => {
                    patterned.push(index);
                    regexes.push(pattern.folded_regex().to_owned());
                }
                Err(error) => problems.push(format!("dataset type {:?}: {error}", kind.name)),
            }
        }
        let patterns = RegexSetBuilder::new(&regexes)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(STATES_LIMIT)
            .build()
            .unwrap_or_else(|error| {
                problems.push(format!(
                    "the file name patterns of {} dataset types cannot be used together: {error}",
                    regexes.len()
                ));
                RegexSet::empty()
            });
        Self { types, extensions: known, patterns, patterned, by_name, problems }
    }

    /// The dataset type of a file name.
    ///
    /// # Errors
    /// [`NoDatasetType`]: the extension is unknown, or none or several of the types match.
    pub fn find(&self, file_name: &str) -> Result<&DatasetType, NoDatasetType> {
        let (_, suffix) = split_suffix(file_name);
        if !self.extensions.contains(suffix) {
            return Err(NoDatasetType::UnknownExtension(suffix.to_owned()));
        }
        match self.matching(file_name).as_slice() {
            [] => Err(NoDatasetType::None),
            [one] => Ok(one),
            several => Err(NoDatasetType::Several(several.iter().map(|kind| kind.name.clone()).collect())),
        }
    }

    /// All dataset types that match a file name, regardless of its extension, in the order of the database.
    pub fn matching(&self, file_name: &str) -> Vec<&DatasetType> {
        let hits = self.patterns.matches(&fold(file_name));
        let mut found: Vec<usize> = hits.iter().filter_map(|i| self.patterned.get(i).copied()).collect();
        if !self.by_name.is_empty() {
            let named = match DatasetName::parse(file_name) {
                Ok(name) => self.by_name.get(&name.object_attribute()),
                Err(_) => self.by_name.get(split_suffix(file_name).0),
            };
            found.extend(named.into_iter().flatten());
            found.sort_unstable();
        }
        found.into_iter().filter_map(|index| self.types.get(index)).collect()
    }

    /// Whether a data format has the extension of this file name.
    pub fn has_extension_of(&self, file_name: &str) -> bool {
        self.extensions.contains(split_suffix(file_name).1)
    }

    /// How many types there are.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are no types.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Problems of the database's own types and formats, for the log; usually empty.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Stem and suffix (with its dot) as Python's `pathlib` splits them: `.npy` and `notes.` have no suffix.
pub(crate) fn split_suffix(file_name: &str) -> (&str, &str) {
    match file_name.rfind('.') {
        Some(dot) if dot > 0 && dot + 1 < file_name.len() => file_name.split_at(dot),
        _ => (file_name, ""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn types(kinds: &[(&str, &str)], extensions: &[&str]) -> DatasetTypes {
        let kinds = kinds
            .iter()
            .map(|(name, pattern)| DatasetType { name: (*name).into(), filename_pattern: (*pattern).into() })
            .collect();
        DatasetTypes::new(kinds, extensions.iter().map(|e| (*e).to_owned()).collect())
    }

    #[test]
    fn an_empty_extension_is_ignored() {
        let types = types(&[("all", "*")], &["", ".npy", ""]);
        for name in ["README", "notes.txt", ".npy", "spikes.times.", "a.npy.bak", "a.b.NPY"] {
            assert!(matches!(types.find(name), Err(NoDatasetType::UnknownExtension(_))), "{name}");
        }
        assert!(types.find("a.npy").is_ok());
        assert_eq!(types.problems(), [] as [String; 0]);
    }

    #[test]
    fn a_type_without_pattern_takes_names_of_its_own_object_and_attribute_only() {
        let types = types(&[("mpci.times", ""), ("notes", "  ")], &[".npy", ".txt"]);
        assert_eq!(types.find("_ibl_mpci.times_scope.raw.npy").unwrap().name, "mpci.times");
        assert_eq!(types.find("notes.txt").unwrap().name, "notes");
        for name in ["Mpci.times.npy", "mpci.timestamps.npy", "my notes.txt", "notes.x.txt"] {
            assert_eq!(types.find(name), Err(NoDatasetType::None), "{name}");
        }
    }

    #[test]
    fn a_name_that_several_types_match_is_refused_with_their_names() {
        let types =
            types(&[("b", "*times*"), ("spikes.times", ""), ("a", "spikes*"), ("c", "x*")], &[".npy"]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            types.find("spikes.times.npy"),
            Err(NoDatasetType::Several(names(&["b", "spikes.times", "a"])))
        );
    }

    #[test]
    fn problems_of_the_database_are_listed_and_the_rest_still_works() {
        let absurd = "[!é]".repeat(100_000);
        let types = types(&[("absurd", &absurd), ("spikes.times", "spikes.times*")], &[".npy", ".npy"]);
        assert_eq!(types.find("spikes.times.npy").unwrap().name, "spikes.times");
        let [extension, pattern] = types.problems() else { panic!("{:?}", types.problems()) };
        assert!(extension.contains(".npy") && extension.contains("Alyx admin"), "{extension}");
        assert!(pattern.contains("absurd") && pattern.contains("Alyx admin"), "{pattern}");
    }

    #[test]
    fn a_database_without_types_knows_no_file() {
        assert!(DatasetTypes::default().find("spikes.times.npy").is_err());
        assert!(DatasetTypes::default().matching("spikes.times.npy").is_empty());
    }

    proptest! {
        #[test]
        fn finding_never_panics(name in any::<String>(), pattern in "[a-z*?\\[\\]!.-]{0,12}") {
            // A type without a pattern takes the name `q.a` if its own name is `q`.
            let types = types(&[("a name that is not drawn", &pattern), ("another one", "")], &[".npy"]);
            let _ = types.find(&name);
            prop_assert_eq!(types.matching(&name).len(), usize::from(
                !pattern.is_empty() && FilePattern::parse(&pattern).unwrap().matches(&name)));
        }
    }
}
