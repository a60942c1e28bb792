//! Signs of a copy in progress: how programs name a file, or the folder around it, while they write it. Pure.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// The signs that are known without configuration: the program, and its pattern. `*` is the final name of the file; a
/// pattern that ends in `/` is the name of a folder whose files keep their names; one without `*` hides the final name.
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
    ("a web browser", "*.crswap"),
    ("a web browser", "*.opdownload"),
    ("a web browser, FileZilla or KDE", "*.part"),
    ("Safari", "*.download"),
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
/// assert!(CopySign::parse("partial").is_err(), "it would match one name only");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySign {
    pattern: Pattern,
    /// What a name must end with, whatever the rest of the pattern: most names are ruled out at once.
    ending: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The characters before and after the final name.
    File {
        before: usize,
        after: usize,
    },
    Folder,
    /// The final name is not in the temporary one.
    Nameless,
}

impl CopySign {
    /// Reads a pattern: `?` is any character, `[abc]` one of these, and `*` the final name of the file. With a `/` at
    /// its end it is the name of a folder.
    ///
    /// # Errors
    /// What is wrong with it, and how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, is_folder) = text.strip_suffix('/').map_or((text, false), |name| (name, true));
        if name.is_empty() || name.contains('/') {
            return Err("write the pattern of a name, without folders".to_owned());
        }
        let pattern = Pattern::new(name).map_err(|error| error.msg.to_owned())?;
        let ending = name.rsplit(['*', '?', ']']).next().unwrap_or_default().to_owned();
        if is_folder {
            return Ok(Self { pattern, ending, kind: Kind::Folder });
        }
        if !name.contains('*') && name.contains(['?', '[']) {
            return Ok(Self { pattern, ending, kind: Kind::Nameless });
        }
        let Some((before, after)) = name.split_once('*').filter(|(_, after)| !after.contains('*')) else {
            return Err("write one * where the final name of the file is".to_owned());
        };
        if before.is_empty() && after.is_empty() {
            return Err("every name would match; add what the copying program adds to the name".to_owned());
        }
        Ok(Self { pattern, ending, kind: Kind::File { before: width(before), after: width(after) } })
    }

    fn matches(&self, name: &str) -> bool {
        let (name_bytes, ending) = (name.as_bytes(), self.ending.as_bytes());
        let end = name_bytes.len().checked_sub(ending.len()).and_then(|start| name_bytes.get(start..));
        // The pattern compares letters beyond ASCII without their case, too.
        (!self.ending.is_ascii() || end.is_some_and(|end| end.eq_ignore_ascii_case(ending)))
            && self.pattern.matches_with(name, ANY_CASE)
    }

    /// Whether the path has a sign that hides the final name of the file.
    pub fn hides_name(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        self.kind == Kind::Nameless && name.is_some_and(|name| self.matches(name))
    }

    /// The path that a file has when its copy is complete; `None` if the path does not have the sign.
    pub fn complete(&self, path: &Path) -> Option<PathBuf> {
        match self.kind {
            Kind::Folder => {
                let is_sign = |part: &std::ffi::OsStr| part.to_str().is_some_and(|part| self.matches(part));
                let folder = path.parent()?;
                folder.iter().any(is_sign).then(|| path.iter().filter(|part| !is_sign(part)).collect())
            }
            Kind::File { before, after } => {
                let name = path.file_name()?.to_str().filter(|name| self.matches(name))?;
                let letters: Vec<char> = name.chars().collect();
                let complete: String =
                    letters.get(before..letters.len().checked_sub(after)?)?.iter().collect();
                Some(path.with_file_name(complete))
            }
            Kind::Nameless => None,
        }
    }
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
    fn an_ordinary_name_has_no_sign() {
        for name in [
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
