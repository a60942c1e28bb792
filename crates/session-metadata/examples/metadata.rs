//! Prints what is known of a session folder as JSON: `metadata FOLDER [DATA_ROOT]`. For comparison with other programs.

#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "works on the disk and prints")]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use session_metadata::{Entry, Input, Options, SessionFiles, SidecarFile, describe, sidecar};

struct Folder {
    root: PathBuf,
    entries: Vec<Entry>,
}

impl Folder {
    fn collect(&mut self, below: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(below)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.metadata()?);
            let relative = path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
            self.entries.push(Entry { path: relative, size: kind.is_file().then_some(kind.len()) });
            if kind.is_dir() {
                self.collect(&path)?;
            }
        }
        Ok(())
    }
}

impl SessionFiles for Folder {
    fn list(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(self.root.join(path))?))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("usage: metadata FOLDER [DATA_ROOT]")?.canonicalize()?;
    let data_root = arguments.next().map_or(Ok(folder.clone()), |root| root.canonicalize())?;
    let session = alf::SessionPath::parse(&folder)?;
    let mut files = Folder { root: folder.clone(), entries: Vec::new() };
    files.collect(&folder)?;
    files.entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut input = Input::new(&session, &files);
    for folder in sidecar::folders(&folder, &data_root) {
        for path in sidecar::NAMES.map(|name| folder.join(name)).into_iter().filter(|path| path.exists()) {
            let mut content = Vec::new();
            File::open(&path)?.take(sidecar::MAX_BYTES + 1).read_to_end(&mut content)?;
            input.sidecars.push(SidecarFile { name: path.to_string_lossy().into_owned(), content });
        }
    }
    let options = Options { zone: jiff::tz::TimeZone::system(), ..Options::default() };
    println!("{}", serde_json::to_string_pretty(&describe(&input, &options))?);
    Ok(())
}
