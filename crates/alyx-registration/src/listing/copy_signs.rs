//! Signs of a copy in progress: how programs name a file, or the folder around it, while they write it. Pure.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// The signs that are known without configuration: the program, and its pattern, as [`CopySign::parse`] reads it.
pub const DEFAULT_COPY_SIGNS: &[(&str, &str)] = &[
    ("rsync", ".*.[A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9]"),
    ("rsync --delay-updates", ".~tmp~/"),
    ("rsync --partial-dir", ".rsync-partial/"),
    ("rclone", "*.????????.partial"),
    ("WinSCP", "*.filepart"),
    ("Syncthing", ".syncthing.*.tmp"),
    ("Syncthing on Windows", "~syncthing~*.tmp"),
    ("lftp", ".in.*."),
    (
        "the AWS client",
        "*.[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]",
    ),
    ("lftp", "*.lftp-pget-status"),
    ("Nextcloud or ownCloud", ".*.~????????"),
    ("Nextcloud or ownCloud", ".*.~???????"),
    ("Nextcloud or ownCloud", ".*.~??????"),
    ("Nextcloud or ownCloud", "*.ocTransferId#.part"),
    ("Unison", ".unison.*.unison.tmp"),
    ("Unison", ".unison.*.????????????????????????????????.unison.tmp"),
    ("GNOME", ".goutputstream-??????"),
    ("macOS", "*.sb-????????-??????"),
    ("Windows", "*~RF????????.TMP"),
    ("Windows", "*~RF???????.TMP"),
    ("iCloud", ".*.icloud"),
    ("Aspera", "*.aspx"),
    ("Aspera", "*.aspera-ckpt"),
    ("Google Cloud Storage", "*_.gstmp"),
    ("AzCopy", ".azDownload-????????-????-????-????-????????????-*"),
    ("an S3 client", "*.s3tmp"),
    ("an S3 client", "*.s3tmp.????????"),
    ("aria2", "*.aria2"),
    ("a web browser", "*.crdownload"),
    ("Chrome or Edge", "Unconfirmed #.crdownload"),
    ("Chrome", ".com.google.Chrome.??????"),
    ("Chromium", ".org.chromium.Chromium.??????"),
    ("a web browser", "*.crswap"),
    ("a web browser", "*.opdownload"),
    ("a web browser, FileZilla or KDE", "*.part"),
    ("Firefox", "*.????????.*.part"),
    ("Safari", "*.download/"),
    ("Safari", "*.download"),
    ("MinIO", "*.????????????????????????????????.part.minio"),
    ("MinIO", "*.????????????????????????????????-#.part.minio"),
    ("MinIO", "????????????????????????????????????????????????????????????????.part.minio"),
    ("Resilio Sync", "*.!sync"),
    ("FreeFileSync", "*.ffs_tmp"),
    ("a BitTorrent client", "*.!ut"),
    ("a BitTorrent client", "*.!qB"),
    ("a BitTorrent client", "*.!bt"),
    ("a BitTorrent client", "*.bc!"),
    ("a copy", ".tmp.*"),
    ("a copy", "*.cpt"),
    ("a copy", "*.downloading"),
    ("a copy", "*.inprogress"),
    ("a copy", "*.in-progress"),
    ("a copy", "*.partial"),
    ("a copy", "*.incomplete"),
    ("a copy", "*.uploading"),
    ("a copy", "*.copying"),
    ("a copy", "*.writing"),
    ("a copy", "*.temp"),
    ("a copy", "*.tmp"),
    ("a copy", "*.????????.tmp"),
    ("a copy", ".*.part"),
    ("a copy", ".*.??????.part"),
    ("a copy", ".*.partial"),
    ("a copy", ".*.tmp"),
];

/// Programs on Windows write the same ending in either letter case.
const ANY_CASE: MatchOptions = MatchOptions {
    case_sensitive: false,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

/// A sign: a pattern of the name that a file has while it is copied.
///
/// ```
/// use std::path::{Path, PathBuf};
/// use alyx_registration::CopySign;
///
/// let sign = CopySign::parse("*.????????.partial").unwrap();
/// let complete = sign.complete(Path::new("alf/spikes.times.npy.8f3a11c0.partial"));
/// assert_eq!(complete, Some(PathBuf::from("alf/spikes.times.npy")));
/// assert_eq!(sign.complete(Path::new("alf/spikes.times.npy")), None);
///
/// let folder = CopySign::parse(".~tmp~/").unwrap();
/// assert_eq!(folder.complete(Path::new("alf/.~tmp~/a.b.npy")), Some(PathBuf::from("alf/a.b.npy")));
///
/// let firefox = CopySign::parse("*.????????.*.part").unwrap();
/// let complete = firefox.complete(Path::new("alf/spikes.x8-aB_3z.times.npy.part"));
/// assert_eq!(complete, Some(PathBuf::from("alf/spikes.times.npy")));
///
/// assert!(CopySign::parse("partial").is_err(), "it would match one name only");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySign {
    /// The pattern; where `#` is a number, one for each count of digits.
    patterns: Vec<Pattern>,
    /// What a name must end with, whatever the rest of the pattern: most names are ruled out at once.
    ending: String,
    kind: Kind,
}

/// A number in a name has at most this many digits, as one of 32 bits.
const MAX_DIGITS: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// What is around the final name, and where the second `*` is, what divides it.
    File {
        before: String,
        between: Option<String>,
        after: String,
    },
    Folder,
    /// The final name is not in the temporary one.
    Nameless,
}

impl CopySign {
    /// Reads a pattern: `?` is any character, `[abc]` one of these, `#` a number, and `*` the final name of the file. A
    /// second `*` is what follows the first dot of the final name, where a program writes its own part there. With a `/`
    /// at its end it is the name of a folder whose files keep their names. One with `?`, `[abc]` or `#`, but without
    /// `*`, hides the final name.
    ///
    /// # Errors
    /// What is wrong with it, and how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, is_folder) = text.strip_suffix('/').map_or((text, false), |name| (name, true));
        if name.is_empty() || name.contains('/') {
            return Err("write the pattern of a name, without folders".to_owned());
        }
        let numbers = if name.contains('#') { MAX_DIGITS } else { 1 };
        let patterns = (1..=numbers).map(|digits| Pattern::new(&with_digits(name, digits)));
        let patterns = patterns.collect::<Result<Vec<_>, _>>().map_err(|error| error.msg.to_owned())?;
        if name.chars().all(|letter| letter == '*') {
            return Err("every name would match; add what the copying program adds to the name".to_owned());
        }
        let ending = name.rsplit(['*', '?', ']', '#']).next().unwrap_or_default().to_owned();
        let has_wildcard = |piece: &str| piece.contains(['?', '[', '#']);
        let pieces: Vec<&str> = name.split('*').collect();
        let file = |before: &str, between: Option<&str>, after: &str| Kind::File {
            before: before.to_owned(),
            between: between.map(str::to_owned),
            after: after.to_owned(),
        };
        let kind = match pieces.as_slice() {
            _ if is_folder => Kind::Folder,
            [before, after] => file(before, None, after),
            [before, between, after] if has_wildcard(between) => file(before, Some(between), after),
            [name] if has_wildcard(name) => Kind::Nameless,
            _ => return Err("write one * where the final name of the file is".to_owned()),
        };
        Ok(Self { patterns, ending, kind })
    }

    /// The number of digits with which a name matches; `None`: it does not match.
    fn matches(&self, name: &str) -> Option<usize> {
        let (name_bytes, ending) = (name.as_bytes(), self.ending.as_bytes());
        let end = name_bytes.len().checked_sub(ending.len()).and_then(|start| name_bytes.get(start..));
        // The pattern compares letters beyond ASCII without their case, too.
        let may_match = !self.ending.is_ascii() || end.is_some_and(|end| end.eq_ignore_ascii_case(ending));
        let matches = |pattern: &Pattern| pattern.matches_with(name, ANY_CASE);
        self.patterns.iter().position(matches).filter(|_| may_match).map(|index| index + 1)
    }

    /// Whether the path has a sign that hides the final name of the file.
    pub fn hides_name(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        self.kind == Kind::Nameless && name.is_some_and(|name| self.matches(name).is_some())
    }

    /// The path that a file has when its copy is complete; `None` if the path does not have the sign.
    pub fn complete(&self, path: &Path) -> Option<PathBuf> {
        match &self.kind {
            Kind::Folder => {
                let is_sign =
                    |part: &std::ffi::OsStr| part.to_str().is_some_and(|part| self.matches(part).is_some());
                let folder = path.parent()?;
                let name = path.file_name()?;
                let rest = folder.iter().filter(|part| !is_sign(part));
                folder.iter().any(is_sign).then(|| rest.chain([name]).collect())
            }
            Kind::File { before, between, after } => {
                let name = path.file_name()?.to_str()?;
                let digits = self.matches(name)?;
                let width = |piece: &str| width(&with_digits(piece, digits));
                let letters: Vec<char> = name.chars().collect();
                let inner = letters.get(width(before)..letters.len().checked_sub(width(after))?)?;
                let complete = match between {
                    None => inner.iter().collect(),
                    Some(between) => undivided(inner, &with_digits(between, digits))?,
                };
                Some(path.with_file_name(complete))
            }
            Kind::Nameless => None,
        }
    }
}

/// A pattern with its numbers, each of this many digits.
fn with_digits(pattern: &str, digits: usize) -> String {
    pattern.replace('#', &"[0-9]".repeat(digits))
}

/// A name without the first part that a pattern describes; a dot takes its place.
fn undivided(letters: &[char], between: &str) -> Option<String> {
    let (pattern, width) = (Pattern::new(between).ok()?, width(between));
    let divides = |part: &[char]| pattern.matches_with(&part.iter().collect::<String>(), ANY_CASE);
    let at = letters.windows(width).position(divides)?;
    let (before, after) = (letters.get(..at)?, letters.get(at + width..)?);
    Some(before.iter().chain(&['.']).chain(after).collect())
}

/// The number of characters that a piece of a pattern without `*` matches.
fn width(piece: &str) -> usize {
    let (mut width, mut letters) = (0, piece.chars());
    while let Some(letter) = letters.next() {
        width += 1;
        if letter == '[' {
            // A bracket directly after the opening one belongs to the set.
            let mut is_first = true;
            for letter in letters.by_ref() {
                if letter == ']' && !is_first {
                    break;
                }
                is_first = letter == '!' && is_first;
            }
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that a file may have when its copy is complete, by the signs that are known without configuration.
    fn complete(path: &str) -> Vec<PathBuf> {
        let signs = DEFAULT_COPY_SIGNS.iter().map(|(_, pattern)| CopySign::parse(pattern).unwrap());
        signs.filter_map(|sign| sign.complete(Path::new(path))).collect()
    }

    #[test]
    fn a_file_that_is_being_copied_has_its_final_name_in_its_temporary_one() {
        let table = [
            ".spikes.times.npy.a1B2c3",
            ".~tmp~/spikes.times.npy",
            ".rsync-partial/spikes.times.npy",
            "spikes.times.npy.8f3a11c0.partial",
            "spikes.times.npy.partial",
            "spikes.times.npy.filepart",
            ".syncthing.spikes.times.npy.tmp",
            "~syncthing~spikes.times.npy.tmp",
            ".in.spikes.times.npy.",
            "spikes.times.npy.B8a09F13",
            ".spikes.times.npy.~1a2b3c4d",
            "spikes.times.npy.crdownload",
            "spikes.times.npy.part",
            "spikes.times.npy.!sync",
            "spikes.times.npy.tmp",
            "spikes.times.npy.PART",
            "spikes.times.npy.FilePart",
            "~SyncThing~spikes.times.npy.TMP",
            ".RSYNC-PARTIAL/spikes.times.npy",
            "spikes.times.npy.crswap",
            "spikes.times.npy.cpt",
            "spikes.times.npy.!ut",
            "spikes.times.npy.!UT",
            "spikes.times.npy.bc!",
            ".unison.spikes.times.npy.unison.tmp",
            ".unison.spikes.times.npy.0123456789abcdef0123456789abcdef.unison.tmp",
            ".spikes.times.npy.~1a2b3c4",
            "spikes.times.npy.lftp-pget-status",
            "spikes.times.npy.aspx",
            "spikes.times.npy~RF1a2b3c4d.TMP",
            "spikes.times.npy.sb-1a2b3c4d-AbCdEf",
            "spikes.times.npy_.gstmp",
            ".azDownload-0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f-spikes.times.npy",
            ".spikes.times.npy.icloud",
            "spikes.times.npy.download/spikes.times.npy",
            "spikes.times.npy.Download/spikes.times.npy",
            ".spikes.times.npy.part",
            ".spikes.times.npy.XyZ123.part",
            "spikes.times.npy.Ab12cd34.tmp",
            "spikes.times.npy.ocTransferId123.part",
            "spikes.times.npy.ocTransferId2147483647.part",
            "spikes.a-B_1234.times.npy.part",
            "spikes.times.npy.d41d8cd98f00b204e9800998ecf8427e.part.minio",
            "spikes.times.npy.d41d8cd98f00b204e9800998ecf8427e-12.part.minio",
        ];
        for name in table {
            let found = complete(&format!("alf/{name}"));
            assert!(found.contains(&PathBuf::from("alf/spikes.times.npy")), "{name}: {found:?}");
        }
    }

    #[test]
    fn a_temporary_name_may_hide_the_final_one() {
        let sign = CopySign::parse(".goutputstream-??????").unwrap();
        assert!(sign.hides_name(Path::new("alf/.goutputstream-A1B2C3")));
        assert!(!sign.hides_name(Path::new("alf/spikes.times.npy")));
        assert!(!CopySign::parse("*.part").unwrap().hides_name(Path::new("alf/spikes.times.npy.part")));
    }

    #[test]
    fn the_temporary_names_of_browsers_hide_the_final_one() {
        let hides = |name: &str| {
            let signs = DEFAULT_COPY_SIGNS.iter().map(|(_, pattern)| CopySign::parse(pattern).unwrap());
            signs.filter(|sign| sign.hides_name(&Path::new("alf").join(name))).count() == 1
        };
        for name in ["Unconfirmed 1.crdownload", "Unconfirmed 482915.crdownload", ".com.google.Chrome.aB3dE6"]
        {
            assert!(hides(name), "{name}");
        }
        assert!(!hides("Unconfirmed.crdownload"));
    }

    #[test]
    fn the_manual_lists_the_known_signs() {
        let manual = include_str!("../../../../docs/configure.md");
        let rows: Vec<String> =
            DEFAULT_COPY_SIGNS.iter().map(|(program, sign)| format!("| {program} | `{sign}` |")).collect();
        let table = format!("| program | name |\n|---|---|\n{}\n", rows.join("\n"));
        assert!(manual.contains(&table), "docs/configure.md, watch.copy_signs:\n{table}");
    }

    #[test]
    fn an_ordinary_name_has_no_sign() {
        for name in [
            "spikes.times.abcdefgh.npy",
            "download/spikes.times.npy",
            "spikes.times.npy",
            "_spikeglx_ephysData_g0_t0.imec0.ap.cbin",
            ".DS_Store",
            "notes.txt",
            "a",
            "é",
            "~$notes.docx",
        ] {
            assert_eq!(complete(name), [] as [PathBuf; 0], "{name}");
        }
    }

    #[test]
    fn a_pattern_that_says_too_little_is_refused() {
        for (pattern, reason) in [
            ("*", "every name"),
            ("", "name"),
            ("partial", "one *"),
            ("*.*.part", "one *"),
            ("*.??.*.*.part", "one *"),
            ("*/", "every name"),
            ("tmp/*.part", "without folders"),
            ("*.[a", "attern"),
        ] {
            let error = CopySign::parse(pattern).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
    }

    #[test]
    fn a_set_is_as_wide_as_one_character() {
        for (piece, expected) in [("", 0), (".ab", 3), ("?[a-z].", 3), ("[!]x]y", 2), ("[]]", 1)] {
            assert_eq!(width(piece), expected, "{piece}");
        }
    }
}
