//! The dataset types and data formats that files lack. Pure.
//!
//! A proposed pattern takes the files of its type, none of another type, and no name that an existing type was made for.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::listing::name_patterns::with_numbers_as;
use crate::propose::survey::Survey;
use alf::{DatasetName, DatasetType, DatasetTypes, EXTENSION_SYNONYMS, FilePattern};

/// The longest pattern that Alyx stores.
const MAX_PATTERN: usize = 255;
/// In a pattern, the number of a file of a series.
const ANY_NUMBER: &str = "[0-9]*";

/// A dataset type to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewType {
    /// `object.attribute`.
    pub(crate) name: String,
    /// The pattern of its files; without one, the name decides.
    pub(crate) pattern: Option<String>,
    /// Its files.
    pub(crate) files: Vec<String>,
}

/// A data format to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewFormat {
    pub(crate) name: String,
    /// With its dot.
    pub(crate) extension: String,
    /// A file that has it.
    pub(crate) example: String,
}

/// What the files lack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MissingTypes {
    pub(crate) types: Vec<NewType>,
    pub(crate) formats: Vec<NewFormat>,
    /// Files for which an admin must decide: an example, and why.
    pub(crate) undecided: Vec<(String, String)>,
    /// Extensions that Alyx knows in another spelling, each with it.
    pub(crate) misspelt: BTreeMap<String, String>,
}

/// The types and formats on Alyx.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownTypes {
    pub(crate) types: Vec<DatasetType>,
    /// Names and extensions.
    pub(crate) formats: Vec<(String, String)>,
}

impl KnownTypes {
    fn extensions(&self) -> Vec<String> {
        self.formats.iter().map(|(_, extension)| extension.clone()).collect()
    }
}

impl MissingTypes {
    pub(crate) fn of(survey: &Survey, known: &KnownTypes) -> Self {
        let mut missing = Self::default();
        missing.add_formats(survey, known);
        let index = DatasetTypes::new(known.types.clone(), known.extensions());
        let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for file in &survey.untyped {
            let Ok(name) = DatasetName::parse(file) else { continue };
            match index.matching(file).as_slice() {
                [] => groups
                    .entry(with_numbers_as(&name.object_attribute(), ANY_NUMBER))
                    .or_default()
                    .push(file),
                [_] => {}
                several => {
                    let names = several.iter().map(|kind| kind.name.clone()).collect();
                    missing.undecided.push((file.clone(), stricter(names)));
                }
            }
        }
        for (file, types) in &survey.ambiguous {
            missing.undecided.push((file.clone(), stricter(types.clone())));
        }
        let mut others = Others::of(survey, known);
        for (series, files) in groups {
            match others.new_type(&series, &files) {
                Ok(new) => missing.types.push(new),
                Err(why) => {
                    missing.undecided.push((files.first().map(ToString::to_string).unwrap_or_default(), why))
                }
            }
        }
        missing.verify(survey, known);
        missing
    }

    fn add_formats(&mut self, survey: &Survey, known: &KnownTypes) {
        let mut names: HashSet<String> = known.formats.iter().map(|(name, _)| name.clone()).collect();
        let mut extensions: BTreeSet<String> = known.extensions().into_iter().collect();
        for file in &survey.untyped {
            let Ok(name) = DatasetName::parse(file) else { continue };
            let extension = format!(".{}", name.extension());
            if extensions.contains(&extension) {
                continue;
            }
            if let Some(right) = extensions.iter().find(|known| is_same_content(known, &extension)) {
                self.misspelt.insert(extension, right.clone());
                continue;
            }
            let bare = name.extension().to_owned();
            let free = [bare, extension.clone()].into_iter().find(|name| !names.contains(name));
            let Some(format_name) = free else { continue };
            names.insert(format_name.clone());
            extensions.insert(extension.clone());
            self.formats.push(NewFormat { name: format_name, extension, example: file.clone() });
        }
    }

    /// Keeps only the types with which each of their files, and each file that is a dataset already, has exactly one.
    fn verify(&mut self, survey: &Survey, known: &KnownTypes) {
        let new = self.types.iter().map(|new| DatasetType {
            name: new.name.clone(),
            filename_pattern: new.pattern.clone().unwrap_or_default(),
        });
        let types = known.types.iter().cloned().chain(new).collect();
        let after = DatasetTypes::new(types, Vec::new());
        let is_one = |file: &String| after.matching(file).len() == 1;
        let is_unharmed = survey.datasets.iter().all(is_one);
        let (kept, dropped) = std::mem::take(&mut self.types)
            .into_iter()
            .partition(|new: &NewType| is_unharmed && new.files.iter().all(is_one));
        self.types = kept;
        for new in dropped {
            let file = new.files.into_iter().next().unwrap_or_default();
            self.undecided.push((file, no_pattern()));
        }
    }
}

fn stricter(types: Vec<String>) -> String {
    format!("several dataset types match it ({}): make their patterns stricter", types.join(", "))
}

fn no_pattern() -> String {
    "no simple pattern takes these files and no others: create a dataset type with a pattern of your own"
        .to_owned()
}

/// Whether two extensions differ only in letter case, or are synonyms.
fn is_same_content(known: &str, extension: &str) -> bool {
    let plain = |extension: &str| extension.trim_start_matches('.').to_lowercase();
    let (known, extension) = (plain(known), plain(extension));
    !known.is_empty()
        && (known == extension
            || EXTENSION_SYNONYMS
                .iter()
                .any(|group| group.contains(&known.as_str()) && group.contains(&extension.as_str())))
}

/// What a new pattern must not take.
struct Others {
    /// Names of files that are in the sessions, or that existing types were made for.
    files: BTreeSet<String>,
    /// Names of types, with the patterns of those that are on Alyx.
    names: BTreeMap<String, Option<String>>,
    patterns: HashSet<String>,
}

impl Others {
    fn of(survey: &Survey, known: &KnownTypes) -> Self {
        let mut files: BTreeSet<String> = survey.datasets.iter().chain(&survey.untyped).cloned().collect();
        files.extend(survey.ambiguous.keys().cloned());
        files.extend(known.types.iter().flat_map(examples));
        let patterns = known.types.iter().map(|kind| kind.filename_pattern.to_lowercase()).collect();
        let names =
            known.types.iter().map(|kind| (kind.name.clone(), Some(kind.filename_pattern.clone()))).collect();
        Self { files, names, patterns }
    }

    fn new_type(&mut self, series: &str, files: &[&str]) -> Result<NewType, String> {
        let stems: BTreeSet<String> = files
            .iter()
            .filter_map(|file| DatasetName::parse(file).ok())
            .map(|name| name.object_attribute())
            .collect();
        let first = stems.first().cloned().unwrap_or_default();
        let is_series = stems.len() > 1;
        let stem = if is_series { series } else { first.as_str() };
        let names = match is_series {
            true => vec![with_numbers_as(&first, ""), with_numbers_as(&first, "N")],
            false => vec![first.clone()],
        };
        let is_free = |name: &&String| {
            !self.names.contains_key(*name) && DatasetName::parse(&format!("{name}.npy")).is_ok()
        };
        let Some(name) = names.iter().find(is_free).cloned() else {
            return Err(match self.names.get(&first).cloned().flatten() {
                Some(pattern) => format!(
                    "the dataset type {first} has the pattern {pattern:?}, which does not take it: change the pattern, or rename the files"
                ),
                None => no_pattern(),
            });
        };
        let pattern = self.pattern(stem, files, &stems);
        if pattern.is_none() && is_series {
            return Err(no_pattern());
        }
        self.names.insert(name.clone(), None);
        self.patterns.extend(pattern.clone().map(|pattern| pattern.to_lowercase()));
        Ok(NewType { name, pattern, files: files.iter().map(ToString::to_string).collect() })
    }

    /// The narrowest of some simple patterns that takes these files and none of the others.
    fn pattern(&self, stem: &str, files: &[&str], stems: &BTreeSet<String>) -> Option<String> {
        let parts: Vec<(&str, &str)> = files
            .iter()
            .filter_map(|file| stems.iter().find_map(|stem| file.split_once(stem.as_str())))
            .collect();
        let leads: BTreeSet<&str> = parts.iter().map(|(lead, _)| *lead).collect();
        let own_lead = leads.first().copied().filter(|_| leads.len() == 1);
        let has_timescale = parts.iter().any(|(_, rest)| !rest.starts_with('.'));
        let tails: &[&str] = if has_timescale { &["[._]*"] } else { &[".*", "[._]*"] };
        let leads = own_lead.into_iter().chain(["*"]);
        let candidates = leads.flat_map(|lead| tails.iter().map(move |tail| format!("{lead}{stem}{tail}")));
        candidates.into_iter().find(|pattern| {
            let Ok(compiled) = FilePattern::parse(pattern) else { return false };
            pattern.chars().count() <= MAX_PATTERN
                && !self.patterns.contains(&pattern.to_lowercase())
                && files.iter().all(|file| compiled.matches(file))
                && !self.files.iter().any(|other| !files.contains(&other.as_str()) && compiled.matches(other))
        })
    }
}

/// Names that a type was made for.
fn examples(kind: &DatasetType) -> Vec<String> {
    if kind.filename_pattern.trim().is_empty() {
        return vec![format!("{}.npy", kind.name)];
    }
    let plain: String = kind.filename_pattern.chars().filter(|c| !"*?[]!".contains(*c)).collect();
    vec![format!("{plain}.npy"), plain]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(types: &[(&str, &str)], extensions: &[&str]) -> KnownTypes {
        let of = |(name, pattern): &(&str, &str)| DatasetType {
            name: (*name).into(),
            filename_pattern: (*pattern).into(),
        };
        let format = |name: &&str| ((*name).to_owned(), format!(".{name}"));
        KnownTypes { types: types.iter().map(of).collect(), formats: extensions.iter().map(format).collect() }
    }

    fn missing(files: &[&str], known: &KnownTypes) -> MissingTypes {
        let index = DatasetTypes::new(known.types.clone(), known.extensions());
        let mut survey = Survey::default();
        for file in files {
            match index.find(file) {
                Ok(_) => survey.datasets.insert((*file).to_owned()),
                Err(_) => survey.untyped.insert((*file).to_owned()),
            };
        }
        MissingTypes::of(&survey, known)
    }

    /// Names and patterns.
    fn types(files: &[&str], known: &KnownTypes) -> Vec<(String, String)> {
        let missing = missing(files, known);
        assert!(missing.undecided.is_empty(), "{missing:?}");
        missing.types.into_iter().map(|new| (new.name, new.pattern.unwrap_or_default())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, pattern)| ((*name).to_owned(), (*pattern).to_owned())).collect()
    }

    const SPIKES: (&str, &str) = ("spikes.times", "*spikes.times*.npy");

    #[test]
    fn files_of_one_object_and_attribute_are_one_type() {
        let known = known(&[SPIKES], &["npy", "csv"]);
        let files = ["licks.raw.npy", "licks.raw.csv", "licks.raw.part1.npy", "spikes.times.npy"];
        assert_eq!(types(&files, &known), pairs(&[("licks.raw", "licks.raw.*")]));
        assert_eq!(types(&["_lab_licks.raw.npy"], &known), pairs(&[("licks.raw", "_lab_licks.raw.*")]));
        let mixed = ["_lab_licks.raw.npy", "licks.raw.npy"];
        assert_eq!(types(&mixed, &known), pairs(&[("licks.raw", "*licks.raw.*")]));
        let clocks = ["licks.raw.npy", "licks.raw_bpod.npy"];
        assert_eq!(types(&clocks, &known), pairs(&[("licks.raw", "licks.raw[._]*")]));
        assert!(types(&["spikes.times.npy"], &known).is_empty());
    }

    #[test]
    fn files_of_a_series_are_one_type_and_a_single_number_is_part_of_the_name() {
        let known = known(&[SPIKES], &["npy", "tif"]);
        let series = ["frame001.image.tif", "frame002.image.tif", "frame10.image.tif"];
        assert_eq!(types(&series, &known), pairs(&[("frame.image", "frame[0-9]*.image.*")]));
        assert_eq!(types(&["spikes2p.rate.npy"], &known), pairs(&[("spikes2p.rate", "spikes2p.rate.*")]));
        let both = ["cam1.raw.npy", "cam2.raw.npy", "cam.raw.npy"];
        let of_both = types(&both, &known);
        assert_eq!(of_both, pairs(&[("cam.raw", "cam.raw.*"), ("camN.raw", "cam[0-9]*.raw.*")]));
    }

    #[test]
    fn a_pattern_takes_no_file_of_another_type() {
        // The attribute `raw_times` is not the timescale `times` of `raw`.
        let known = known(&[SPIKES, ("licks.raw_times", ""), ("bigtap.raw", "*bigtap.raw*")], &["npy"]);
        let own = ["licks.raw_bpod.npy", "licks.raw.npy", "licks.raw_times.npy"];
        assert_eq!(types(&own, &known), pairs(&[("licks.raw", "")]), "the name decides");
        let mixed = ["tap.raw.npy", "_lab_tap.raw.npy"];
        assert_eq!(types(&mixed, &known), pairs(&[("tap.raw", "")]), "*tap.raw.* takes bigtap.raw.npy");
        let two = ["tap.raw.npy", "heeltap.raw.npy"];
        assert_eq!(types(&two, &known), pairs(&[("heeltap.raw", "heeltap.raw.*"), ("tap.raw", "tap.raw.*")]));
    }

    #[test]
    fn a_name_that_is_taken_and_two_matching_types_are_for_an_admin() {
        let taken = missing(&["spikes.times.csv"], &known(&[SPIKES], &["npy", "csv"]));
        assert!(taken.types.is_empty());
        assert!(taken.undecided[0].1.contains("has the pattern \"*spikes.times*.npy\""), "{taken:?}");
        let two = known(&[("a", "*licks*"), ("b", "*.raw.*")], &["npy"]);
        let two = missing(&["licks.raw.npy"], &two);
        assert!(two.undecided[0].1.contains("several dataset types match it (a, b)"), "{two:?}");
    }

    #[test]
    fn an_unknown_extension_is_a_format_and_a_misspelt_one_is_not() {
        let mut known = known(&[SPIKES], &["npy", "mp4", "tif"]);
        known.formats.push(("dat".into(), ".xyz".into()));
        let files = ["a.raw.h5x", "b.raw.h5x", "c.raw.dat", "d.raw.MP4", "e.raw.tiff"];
        let missing = missing(&files, &known);
        let formats: Vec<_> =
            missing.formats.iter().map(|format| (format.name.as_str(), format.extension.as_str())).collect();
        assert_eq!(formats, [("h5x", ".h5x"), (".dat", ".dat")]);
        assert_eq!(
            missing.misspelt.into_iter().collect::<Vec<_>>(),
            pairs(&[(".MP4", ".mp4"), (".tiff", ".tif")])
        );
    }

    proptest::proptest! {
        #[test]
        fn with_the_proposed_types_each_file_has_exactly_one(
            files in proptest::collection::btree_set("(_lab_|_ibl_)?[ab]{1,2}[0-9]{0,2}[.](x|y|x_times)(_bpod)?([.]p1)?[.](npy|csv|zz)", 1..12)
        ) {
            let known = known(&[("a.x", "a.x*.npy"), ("b.y", ""), ("bb", "*bb.x*")], &["npy", "csv"]);
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let missing = missing(&files, &known);
            let types = known.types.iter().cloned().chain(missing.types.iter().map(|new| DatasetType {
                name: new.name.clone(), filename_pattern: new.pattern.clone().unwrap_or_default(),
            }));
            let extensions = known.extensions().into_iter().chain(missing.formats.iter().map(|f| f.extension.clone()));
            let after = DatasetTypes::new(types.collect(), extensions.collect());
            for file in missing.types.iter().flat_map(|new| &new.files) {
                proptest::prop_assert!(after.find(file).is_ok(), "{file}: {missing:?}");
            }
            let before = DatasetTypes::new(known.types.clone(), known.extensions());
            for file in &files {
                proptest::prop_assert!(before.find(file).is_err() || after.find(file).is_ok(), "{file}: {missing:?}");
            }
        }
    }
}
