//! The lists of `audit --sums`: what Alyx holds of each file, for `md5sum`, `rclone` and `hashdeep`.
//!
//! `md5sum -c` and `rclone checksum md5` read the same lines; but `rclone` knows no escaped names, so that names with a
//! line break are in a list of their own, for `md5sum` alone. `hashdeep` reads its own format, in which such names
//! cannot be written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::args::AuditArgs;
use crate::cli::exit::Exit;
use crate::cli::new_file::NewFile;
use crate::cli::output::Failure;
use crate::config::Config;
use crate::humanize::count;
use alyx_registration::{HeldSum, HeldSums};

const MODE: u32 = 0o644;
const HASHDEEP_HEADER: &str =
    "%%%% HASHDEEP-1.0\n%%%% size,md5,filename\n## alyx-registrar audit --sums\n##\n";

/// The lists, while they are written.
pub(super) struct SumLists {
    /// For `md5sum` and `rclone`.
    plain: NewFile,
    hashdeep: NewFile,
    /// Names with line breaks, for `md5sum`; made with the first of them.
    breaks: Option<NewFile>,
    /// Where that will be.
    breaks_path: PathBuf,
    roots: Vec<PathBuf>,
    listed: u64,
    without: u64,
    without_size: u64,
}

impl SumLists {
    /// Begins the lists. Blocks.
    ///
    /// # Errors
    /// One of them exists, is below a data root, or cannot be written.
    pub(super) fn create(file: &Path, roots: Vec<PathBuf>) -> Result<Self, Failure> {
        let beside = |end: &str| {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(end);
            file.with_file_name(name)
        };
        let create = |path: &Path| NewFile::create(path, roots.iter().map(PathBuf::as_path), MODE);
        let breaks_path = beside(".line-breaks");
        // An old one beside new lists would be taken for theirs.
        drop(create(&breaks_path)?);
        let (plain, mut hashdeep) = (create(file)?, create(&beside(".hashdeep"))?);
        hashdeep.write_all(HASHDEEP_HEADER.as_bytes()).map_err(|error| hashdeep.failure(&error))?;
        let (listed, without, without_size) = Default::default();
        Ok(Self { plain, hashdeep, breaks: None, breaks_path, roots, listed, without, without_size })
    }

    /// Adds the sums of a session. Blocks.
    pub(super) fn add(&mut self, sums: &HeldSums) -> Result<(), Failure> {
        self.without += sums.without();
        for sum in sums.sums() {
            self.listed += 1;
            if has_break(&sum.path) {
                if self.breaks.is_none() {
                    let roots = self.roots.iter().map(PathBuf::as_path);
                    self.breaks = Some(NewFile::create(&self.breaks_path, roots, MODE)?);
                }
                if let Some(breaks) = &mut self.breaks {
                    written(breaks, &escaped_line(sum))?;
                }
                continue;
            }
            written(&mut self.plain, &plain_line(sum))?;
            match hashdeep_line(sum) {
                Some(line) => written(&mut self.hashdeep, &line)?,
                None => self.without_size += 1,
            }
        }
        Ok(())
    }

    /// Completes the lists. Returns what they are, for people. Blocks.
    pub(super) fn finish(self) -> Result<Vec<String>, Failure> {
        let Self { plain, hashdeep, breaks, listed, without, without_size, .. } = self;
        let (plain, hashdeep) = (plain.finish()?, hashdeep.finish()?);
        let mut lines = vec![format!("the MD5 of {} is in {}", count(listed, "file"), plain.display())];
        lines.push(format!("  and, in the format of hashdeep, in {}", hashdeep.display()));
        if let Some(breaks) = breaks {
            let breaks = breaks.finish()?;
            lines.push(format!("  names with line breaks, for md5sum only, are in {}", breaks.display()));
        }
        if without > 0 {
            let datasets = count(without, "dataset");
            lines.push(format!("  {datasets} without an MD5 on Alyx, or with two, cannot be listed"));
        }
        if without_size > 0 {
            let datasets = count(without_size, "dataset");
            lines.push(format!("  {datasets} without a size on Alyx cannot be listed for hashdeep"));
        }
        Ok(lines)
    }
}

/// The lists of `--sums`, begun before anything is asked for.
pub(super) async fn begin(args: &AuditArgs, config: &Config) -> Result<Option<SumLists>, Failure> {
    let Some(file) = args.sums.clone() else { return Ok(None) };
    let roots = config.data_roots.iter().map(|root| root.path.clone()).collect();
    let created = tokio::task::spawn_blocking(move || SumLists::create(&file, roots)).await;
    created.unwrap_or_else(|error| Err(Failure::new(Exit::Io, error))).map(Some)
}

/// Completes the lists, if there are any. Returns what they are, for people.
pub(super) async fn finished(sums: Option<SumLists>) -> Result<Vec<String>, Failure> {
    let Some(sums) = sums else { return Ok(Vec::new()) };
    let finished = tokio::task::spawn_blocking(move || sums.finish()).await;
    finished.unwrap_or_else(|error| Err(Failure::new(Exit::Io, error)))
}

fn written(file: &mut NewFile, line: &str) -> Result<(), Failure> {
    let outcome: io::Result<()> = file.write_all(line.as_bytes());
    outcome.map_err(|error| file.failure(&error))
}

/// Whether a name does not fit on a line. `hashdeep` and Windows take a carriage return for a part of the line's end.
fn has_break(path: &str) -> bool {
    path.contains(['\n', '\r'])
}

/// A line without escapes. `md5sum` takes backslashes as they are, unless the line begins with one. Pure.
fn plain_line(sum: &HeldSum) -> String {
    format!("{}  {}\n", sum.md5, sum.path)
}

/// A line with escapes, which begins with a backslash. Pure.
fn escaped_line(sum: &HeldSum) -> String {
    let path = sum.path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    format!("\\{}  {path}\n", sum.md5)
}

/// A line for `hashdeep`: the name is the rest of the line, commas included. Pure.
fn hashdeep_line(sum: &HeldSum) -> Option<String> {
    Some(format!("{},{},{}\n", sum.size?, sum.md5, sum.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alyx_registration::Md5Sum;

    #[test]
    fn only_names_with_line_breaks_are_escaped() {
        let sum = |path: &str, size| HeldSum { path: path.into(), md5: Md5Sum::from([0xab; 16]), size };
        let hex = "ab".repeat(16);
        let odd = sum(r" a\b ,ü*.npy", Some(3));
        assert_eq!(plain_line(&odd), format!("{hex}   a\\b ,ü*.npy\n"));
        assert_eq!(hashdeep_line(&odd).unwrap(), format!("3,{hex}, a\\b ,ü*.npy\n"));
        assert_eq!(hashdeep_line(&sum("a", None)), None);
        let broken = sum("a\n\\\r", Some(3));
        assert!(has_break(&broken.path) && !has_break(&odd.path));
        assert_eq!(escaped_line(&broken), format!("\\{hex}  a\\n\\\\\\r\n"));
    }
}
