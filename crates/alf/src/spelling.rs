//! The spelling of a path: what disks, copy programs and people change in it without meaning another file. Pure.

use icu_normalizer::ComposingNormalizerBorrowed;

/// The same text for all spellings of a path in a session: letter case, Unicode form, and a revision folder with or
/// without its `#`.
///
/// ```
/// use alf::spelling::folded;
///
/// assert_eq!(folded("Alf/#2024-05-01#/Spikes.times.NPY"), folded("alf/2024-05-01/spikes.times.npy"));
/// assert_eq!(folded("alf/cafe\u{301}.times.npy"), folded("alf/caf\u{e9}.times.npy"));
/// assert_ne!(folded("alf/spikes.times.npy"), folded("alf/spikes.depths.npy"));
/// ```
pub fn folded(path: &str) -> String {
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(path);
    let parts: Vec<&str> = composed.split('/').map(|part| part.trim_matches('#')).collect();
    parts.join("/").to_lowercase()
}
