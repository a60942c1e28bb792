//! Signs of a copy in progress: how programs name a file, or the folder around it, while they write it. Pure.

use std::path::{Path, PathBuf};

use glob::Pattern;

/// The signs that are known without configuration: the program, and its pattern. `*` is the final name of the file; a
/// pattern that ends in `/` is the name of a folder whose files keep their names.
pub const DEFAULT_COPY_SIGNS: [(&str, &str); 22] = [
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
    ("Nextcloud", ".*.~????????"),
    ("a web browser", "*.crdownload"),
    ("a web browser, FileZilla or KDE", "*.part"),
    ("Safari", "*.download"),
    ("Resilio Sync", "*.!sync"),
    ("FreeFileSync", "*.ffs_tmp"),
    ("a copy", "*.partial"),
    ("a copy", "*.incomplete"),
    ("a copy", "*.uploading"),
    ("a copy", "*.copying"),
    ("a copy", "*.writing"),
    ("a copy", "*.temp"),
    ("a copy", "*.tmp"),
];

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
        if is_folder {
            return Ok(Self { pattern, kind: Kind::Folder });
        }
        let Some((before, after)) = name.split_once('*').filter(|(_, after)| !after.contains('*')) else {
            return Err("write one * where the final name of the file is".to_owned());
        };
        if before.is_empty() && after.is_empty() {
            return Err("every name would match; add what the copying program adds to the name".to_owned());
        }
        Ok(Self { pattern, kind: Kind::File { before: width(before), after: width(after) } })
    }

    /// The path that a file has when its copy is complete; `None` if the path does not have the sign.
    pub fn complete(&self, path: &Path) -> Option<PathBuf> {
        match self.kind {
            Kind::Folder => {
                let is_sign =
                    |part: &std::ffi::OsStr| part.to_str().is_some_and(|part| self.pattern.matches(part));
                let folder = path.parent()?;
                folder.iter().any(is_sign).then(|| path.iter().filter(|part| !is_sign(part)).collect())
            }
            Kind::File { before, after } => {
                let name = path.file_name()?.to_str().filter(|name| self.pattern.matches(name))?;
                let letters: Vec<char> = name.chars().collect();
                let complete: String =
                    letters.get(before..letters.len().checked_sub(after)?)?.iter().collect();
                Some(path.with_file_name(complete))
            }
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
        ];
        for name in table {
            let found = complete(&format!("alf/{name}"));
            assert!(found.contains(&PathBuf::from("alf/spikes.times.npy")), "{name}: {found:?}");
        }
    }

    #[test]
    fn an_ordinary_name_has_no_sign() {
        for name in
            ["spikes.times.npy", "_spikeglx_ephysData_g0_t0.imec0.ap.cbin", ".DS_Store", "notes.txt", "a"]
        {
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
