//! Near misses: file names that differ from a dataset's only in letter case, Unicode form or the spelling of the
//! extension. Pure.

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use crate::dataset_type::{NoDatasetType, split_suffix};
use crate::file_pattern::fold;
use crate::{DatasetName, DatasetTypes};

/// Extensions of the same content, one group a line. Letter case is not listed: `.MP4` is taken for `.mp4` anyway.
pub const EXTENSION_SYNONYMS: [&[&str]; 12] = [
    &["jpg", "jpeg"],
    &["tif", "tiff"],
    &["mpg", "mpeg"],
    &["yml", "yaml"],
    &["pqt", "parquet"],
    &["jsonable", "jsonl", "ndjson"],
    &["h5", "hdf5"],
    &["wav", "wave"],
    &["aif", "aiff"],
    &["txt", "text"],
    &["gz", "gzip"],
    &["htm", "html"],
];

/// A file name with which a file would be a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The name to give to the file.
    pub rename: String,
    /// The name of the dataset type that takes it.
    pub dataset_type: String,
}

impl DatasetTypes {
    /// The name with which a file would be a dataset, if it differs only in letter case, Unicode form (NFC, NFD) or the
    /// spelling of the extension ([`EXTENSION_SYNONYMS`]), and exactly one dataset type takes it.
    ///
    /// ```
    /// use alf::{DatasetType, DatasetTypes};
    ///
    /// let camera = DatasetType { name: "camera.raw".into(), filename_pattern: "*Camera.raw*".into() };
    /// let types = DatasetTypes::new(vec![camera], vec![".mp4".into()]);
    /// assert_eq!(types.near_miss("_iblrig_leftCamera.raw.MP4").unwrap().rename, "_iblrig_leftCamera.raw.mp4");
    /// assert_eq!(types.near_miss("_iblrig_leftCamera.raw.avi"), None);
    /// assert_eq!(types.near_miss("_iblrig_leftCamera.raw.mp4"), None);
    /// ```
    pub fn near_miss(&self, file_name: &str) -> Option<NearMiss> {
        if !matches!(self.find(file_name), Err(NoDatasetType::UnknownExtension(_) | NoDatasetType::None)) {
            return None;
        }
        let mut found: Vec<NearMiss> = Vec::new();
        for form in forms(file_name) {
            for name in self.extension_spellings(&form) {
                for rename in self.object_spellings(name) {
                    let is_other = rename != file_name && DatasetName::parse(&rename).is_ok();
                    if let Some(kind) = self.find(&rename).ok().filter(|_| is_other) {
                        found.push(NearMiss { dataset_type: kind.name.clone(), rename });
                    }
                }
            }
        }
        let first = found.first()?;
        let is_unique = found.iter().all(|other| other.dataset_type == first.dataset_type);
        is_unique.then(|| first.clone())
    }

    /// The name, then with each known extension that means the same, those that differ in letter case first.
    fn extension_spellings(&self, name: &str) -> Vec<String> {
        let (stem, suffix) = split_suffix(name);
        let extension = suffix.trim_start_matches('.').to_lowercase();
        let synonyms = EXTENSION_SYNONYMS.into_iter().find(|group| group.contains(&extension.as_str()));
        let mut others: Vec<(bool, &String)> = self
            .extensions
            .iter()
            .filter_map(|known| {
                let lower = known.trim_start_matches('.').to_lowercase();
                let is_synonym = synonyms.is_some_and(|group| group.contains(&lower.as_str()));
                (lower == extension || is_synonym).then_some((lower != extension, known))
            })
            .filter(|(_, known)| known.as_str() != suffix && !suffix.is_empty())
            .collect();
        others.sort();
        let others = others.into_iter().map(|(_, known)| format!("{stem}{known}"));
        std::iter::once(name.to_owned()).chain(others).collect()
    }

    /// The name, then with the object and attribute in the letter case of a dataset type that has no pattern.
    fn object_spellings(&self, name: String) -> impl Iterator<Item = String> {
        let typed = DatasetName::parse(&name).map(|name| name.object_attribute()).unwrap_or_default();
        let folded = fold(&typed);
        let mut others: Vec<String> = self
            .by_name
            .keys()
            .filter(|known| **known != typed && fold(known) == folded)
            .map(|known| name.replacen(&typed, known, 1))
            .collect();
        others.sort();
        std::iter::once(name).chain(others)
    }
}

/// The name, then its composed and its decomposed form: macOS and some servers store `é` as two characters.
fn forms(name: &str) -> Vec<String> {
    let mut forms = vec![name.to_owned()];
    if !name.is_ascii() {
        let composed = ComposingNormalizerBorrowed::new_nfc().normalize(name).into_owned();
        let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(name).into_owned();
        forms.extend([composed, decomposed]);
        forms.dedup();
    }
    forms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::DatasetType;

    fn types() -> DatasetTypes {
        let of = |(name, pattern): (&str, &str)| DatasetType {
            name: name.into(),
            filename_pattern: pattern.into(),
        };
        let kinds = [
            ("camera.raw", "_iblrig_*Camera.raw*"),
            ("taskData.raw", "_iblrig_taskData.raw*"),
            ("widefield.raw", "*widefield.raw*"),
            ("trials.table", "*trials.table.pqt"),
            ("mpciROIs.masks", ""),
            ("größe.werte", ""),
            ("a.b", "*twice.here.*"),
            ("c.d", "*twice.here*.mp4"),
        ];
        let extensions = ["mp4", "jpg", "jsonable", "tif", "pqt", "npy", "txt"].map(|e| format!(".{e}"));
        DatasetTypes::new(kinds.map(of).to_vec(), extensions.to_vec())
    }

    fn rename(name: &str) -> Option<String> {
        types().near_miss(name).map(|near| near.rename)
    }

    #[test]
    fn letter_case_unicode_form_and_synonyms_of_an_extension_are_near_misses() {
        for (name, wanted) in [
            ("_iblrig_leftCamera.raw.MP4", "_iblrig_leftCamera.raw.mp4"),
            ("_iblrig_leftCamera.raw.Mp4", "_iblrig_leftCamera.raw.mp4"),
            ("_iblrig_leftCamera.raw.jpeg", "_iblrig_leftCamera.raw.jpg"),
            ("_iblrig_leftCamera.raw.JPEG", "_iblrig_leftCamera.raw.jpg"),
            ("_iblrig_taskData.raw.jsonl", "_iblrig_taskData.raw.jsonable"),
            ("_iblrig_taskData.raw.ndjson", "_iblrig_taskData.raw.jsonable"),
            ("widefield.raw.TIFF", "widefield.raw.tif"),
            ("_ibl_trials.table.parquet", "_ibl_trials.table.pqt"),
            ("mpcirois.Masks.npy", "mpciROIs.masks.npy"),
            ("mpcirois.Masks.NPY", "mpciROIs.masks.npy"),
            ("gro\u{308}ße.werte.npy", "größe.werte.npy"),
        ] {
            assert_eq!(rename(name).as_deref(), Some(wanted), "{name}");
        }
    }

    #[test]
    fn a_dataset_another_name_and_a_name_of_two_types_are_none() {
        for name in [
            "_iblrig_leftCamera.raw.mp4",
            "_iblrig_leftCamera.raw.avi",
            "_iblrig_leftCam.raw.MP4",
            "trials.table.csv",
            "twice.here.MP4",
            "notes.txt",
            "Camera.raw",
            "a.MP4",
            "",
        ] {
            assert_eq!(rename(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_near_miss_is_never_a_dataset_and_its_new_name_always_is_one(name in "(_ibl_)?[a-zA-Zéß\u{308}]{1,6}[.](raw|werte|Masks)[.](MP4|mp4|JPEG|npy|NPY|x)") {
            let types = types();
            if let Some(near) = types.near_miss(&name) {
                prop_assert!(types.find(&name).is_err());
                prop_assert_eq!(&types.find(&near.rename).unwrap().name, &near.dataset_type);
            }
        }

        #[test]
        fn searching_never_panics(name in any::<String>()) {
            let _ = types().near_miss(&name);
        }
    }
}
