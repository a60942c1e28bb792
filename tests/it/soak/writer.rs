//! A writer: creates, changes, flags, moves and deletes sessions of its own subjects, and records what it did.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::rng::SeededRng;
use crate::soak::truth::{Name, Truth};

const FILES: [&str; 5] = [
    "alf/spikes.times.npy",
    "alf/spikes.clusters.npy",
    "alf/probe00/spikes.amps.npy",
    "alf/probe00/spikes.depths.npy",
    "raw_ephys_data/spikes.templates.npy",
];
const DAYS: usize = 8;
const SESSIONS_PER_DAY: usize = 5;
/// With this number of waiting flags, no session is added.
const MAX_WAITING: usize = 12;

/// A session folder.
#[derive(Debug)]
struct Folder {
    name: Name,
    files: BTreeMap<String, String>,
    /// Its flag was created and has not been withdrawn.
    asked: bool,
}

pub struct Writer {
    /// `…/<lab>/Subjects`.
    place: PathBuf,
    /// On the same disk, outside the root.
    outside: PathBuf,
    rng: SeededRng,
    subjects: Vec<String>,
    folders: Vec<Folder>,
    parked: Vec<(PathBuf, BTreeMap<String, String>)>,
    pub truths: HashMap<Name, Truth>,
    /// All actions, for debugging a failure.
    pub log: Vec<String>,
    began: Instant,
    counter: usize,
}

fn is_flagged(folder: &Path) -> bool {
    flag_of(folder).exists()
}

fn flag_of(folder: &Path) -> PathBuf {
    folder.join("create_me.flag")
}

impl Writer {
    pub fn new(place: PathBuf, outside: PathBuf, subjects: Vec<String>, rng: SeededRng) -> Self {
        fs::create_dir_all(&place).unwrap();
        fs::create_dir_all(&outside).unwrap();
        Self {
            place,
            outside,
            rng,
            subjects,
            folders: Vec::new(),
            parked: Vec::new(),
            truths: HashMap::new(),
            log: Vec::new(),
            began: Instant::now(),
            counter: 0,
        }
    }

    /// Writes for a time.
    pub fn work(&mut self, how_long: Duration) {
        let end = Instant::now() + how_long;
        while Instant::now() < end {
            self.random_action();
            std::thread::sleep(Duration::from_millis(self.rng.below(30) as u64));
        }
        for at in 0..self.folders.len() {
            if self.folders[at].asked {
                self.is_registered(at);
            }
        }
    }

    /// Flags that still exist.
    pub fn waiting(&self) -> Vec<PathBuf> {
        let flags = self.folders.iter().map(|folder| flag_of(&self.path(&folder.name)));
        flags.filter(|flag| flag.exists()).collect()
    }

    fn random_action(&mut self) {
        let all = self.folders.len();
        let may_add = self.waiting().len() < MAX_WAITING;
        if all == 0 || (may_add && self.rng.one_in(3)) {
            return match self.rng.below(5) {
                0 => self.unpark(),
                _ => self.create(),
            };
        }
        let at = self.rng.below(all);
        match self.rng.below(16) {
            0..=2 if may_add => self.flag(at),
            3..=5 if may_add => self.change(at),
            6 | 7 => self.withdraw(at),
            8 | 9 => self.delete(at),
            10..=12 => self.move_one(at),
            13 => self.move_date(at),
            14 => self.move_subject(at),
            15 => self.park(at),
            _ => {}
        }
    }

    fn log_action(&mut self, what: String) {
        self.log.push(format!("{:>9.3} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    fn path(&self, (subject, date, number): &Name) -> PathBuf {
        self.place.join(subject).join(date).join(format!("{number:03}"))
    }

    fn truth(&mut self, name: &Name) -> &mut Truth {
        self.truths.entry(name.clone()).or_default()
    }

    /// The flag of a folder was handled, or will be.
    fn is_registered(&mut self, at: usize) {
        let Folder { name, files, .. } = &self.folders[at];
        self.truths.entry(name.clone()).or_default().is_registered(files);
    }

    /// Records the content of a session's files, and whether there is a flag.
    fn note(&mut self, name: &Name, files: &BTreeMap<String, String>, flagged: bool) {
        let truth = self.truth(name);
        truth.flagged |= flagged;
        for (file, content) in files {
            truth.holds(file, content);
        }
    }

    fn new_name(&mut self) -> Option<Name> {
        for _ in 0..20 {
            let subject = self.rng.one_of(&self.subjects).clone();
            let date = format!("2021-03-{:02}", 1 + self.rng.below(DAYS));
            let name = (subject, date, 1 + self.rng.below(SESSIONS_PER_DAY) as u16);
            if self.folders.iter().all(|folder| folder.name != name) {
                return Some(name);
            }
        }
        None
    }

    fn new_content(&mut self) -> String {
        self.counter += 1;
        format!("{}{}", self.counter, "x".repeat(self.rng.below(3000)))
    }

    fn new_outside(&mut self) -> PathBuf {
        self.counter += 1;
        self.outside.join(format!("{}", self.counter))
    }

    // ---- the actions

    fn create(&mut self) {
        let Some(name) = self.new_name() else { return };
        let mut files = BTreeMap::new();
        for _ in 0..=self.rng.below(4) {
            let content = self.new_content();
            files.insert((*self.rng.one_of(&FILES)).to_owned(), content);
        }
        self.note(&name, &files, true);
        let folder = self.path(&name);
        let moved_in = self.rng.one_in(3);
        self.log_action(format!("create {name:?}{}", if moved_in { ", moved in" } else { "" }));
        let made = if moved_in { self.new_outside() } else { folder.clone() };
        for (file, content) in &files {
            let path = made.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::write(flag_of(&made), "").unwrap();
        if moved_in {
            fs::create_dir_all(folder.parent().unwrap()).unwrap();
            fs::rename(made, folder).unwrap();
        }
        self.folders.push(Folder { name, files, asked: true });
    }

    /// Writes the flag, whether it exists or not.
    fn flag(&mut self, at: usize) {
        let name = self.folders[at].name.clone();
        let folder = self.path(&name);
        self.truth(&name).flagged = true;
        self.folders[at].asked = true;
        let flag = flag_of(&folder);
        let way = self.rng.below(3);
        self.log_action(format!("flag {name:?} in way {way}"));
        match way {
            // Not over an existing flag: if the daemon removes it in that instant, the result is undecidable.
            0 if !flag.exists() => {
                let made = folder.join("flag.part");
                fs::write(&made, "").unwrap();
                fs::rename(made, flag).unwrap();
            }
            1 if flag.exists() => match File::options().write(true).open(&flag) {
                Ok(file) => {
                    file.set_modified(SystemTime::now()).unwrap();
                    // Touched or removed, whichever came first.
                    if !flag.exists() {
                        fs::write(flag, "").unwrap();
                    }
                }
                Err(_) => fs::write(flag, "").unwrap(),
            },
            _ => fs::write(flag, "").unwrap(),
        }
    }

    /// Changes a file or adds one, and flags the session.
    fn change(&mut self, at: usize) {
        let name = self.folders[at].name.clone();
        let file = (*self.rng.one_of(&FILES)).to_owned();
        let content = self.new_content();
        let path = self.path(&name).join(&file);
        let at_once = self.rng.one_in(2);
        self.log_action(format!("change {name:?} {file}{}", if at_once { " at once" } else { "" }));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let truth = self.truth(&name);
        truth.holds(&file, &content);
        if at_once {
            let made = self.new_outside();
            fs::write(&made, &content).unwrap();
            fs::rename(made, path).unwrap();
        } else {
            // Empty for an instant.
            truth.holds(&file, "");
            fs::write(path, &content).unwrap();
        }
        self.folders[at].files.insert(file, content);
        self.flag(at);
    }

    fn withdraw(&mut self, at: usize) {
        let name = self.folders[at].name.clone();
        match fs::remove_file(flag_of(&self.path(&name))) {
            Ok(()) => {
                self.log_action(format!("withdraw {name:?}"));
                self.folders[at].asked = false;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                if self.folders[at].asked {
                    self.is_registered(at);
                }
            }
        }
    }

    fn delete(&mut self, at: usize) {
        let name = self.folders[at].name.clone();
        let folder = self.path(&name);
        let flagged = is_flagged(&folder);
        self.log_action(format!("delete {name:?}{}", if flagged { " with its flag" } else { "" }));
        if self.folders[at].asked && !flagged {
            self.is_registered(at);
        }
        fs::remove_dir_all(folder).unwrap();
        self.folders.remove(at);
    }

    fn move_one(&mut self, at: usize) {
        let Some(new) = self.new_name() else { return };
        let old = self.path(&self.folders[at].name);
        fs::create_dir_all(self.path(&new).parent().unwrap()).unwrap();
        self.rename(&old, &self.path(&new), vec![(at, new.clone())]);
    }

    fn move_date(&mut self, at: usize) {
        let (subject, date, _) = self.folders[at].name.clone();
        let (from, day) = (self.place.join(&subject), 1 + self.rng.below(20));
        let new = format!("2021-04-{day:02}");
        if from.join(&new).exists() {
            return;
        }
        let moved = |(s, d, n): &Name| (*s == subject && *d == date).then(|| (s.clone(), new.clone(), *n));
        let names = self.renamed(moved);
        self.rename(&from.join(&date), &from.join(&new), names);
    }

    fn move_subject(&mut self, at: usize) {
        let (subject, ..) = self.folders[at].name.clone();
        let new = self.rng.one_of(&self.subjects).clone();
        if self.place.join(&new).exists() {
            return;
        }
        let names = self.renamed(|(s, d, n): &Name| (*s == subject).then(|| (new.clone(), d.clone(), *n)));
        self.rename(&self.place.join(&subject), &self.place.join(&new), names);
    }

    fn renamed(&self, new: impl Fn(&Name) -> Option<Name>) -> Vec<(usize, Name)> {
        let all = self.folders.iter().enumerate();
        all.filter_map(|(at, folder)| Some((at, new(&folder.name)?))).collect()
    }

    /// Renames a folder that contains these sessions.
    fn rename(&mut self, old: &Path, new: &Path, names: Vec<(usize, Name)>) {
        let flagged = |writer: &Self, name: &Name| is_flagged(&writer.path(name));
        let before: Vec<bool> = names.iter().map(|(at, _)| flagged(self, &self.folders[*at].name)).collect();
        // Recorded first: the daemon may be faster than what follows.
        for ((at, name), before) in names.iter().zip(&before) {
            if !before && self.folders[*at].asked {
                self.is_registered(*at);
            }
            let files = self.folders[*at].files.clone();
            self.note(name, &files, *before);
        }
        fs::rename(old, new).unwrap();
        for ((at, name), before) in names.into_iter().zip(before) {
            let after = flagged(self, &name);
            let was = std::mem::replace(&mut self.folders[at].name, name.clone());
            self.log_action(format!("move {was:?} to {name:?}, flag before {before}, after {after}"));
            self.folders[at].asked = before;
            if before && !after {
                self.flag(at);
            }
        }
    }

    /// Moves a session out of the root.
    fn park(&mut self, at: usize) {
        let aside = self.new_outside();
        let folder = self.path(&self.folders[at].name);
        fs::rename(&folder, &aside).unwrap();
        let flagged = is_flagged(&aside);
        if self.folders[at].asked && !flagged {
            self.is_registered(at);
        }
        let Folder { name, files, .. } = self.folders.remove(at);
        self.log_action(format!("park {name:?}{}", if flagged { " with its flag" } else { "" }));
        self.parked.push((aside, files));
    }

    /// Moves a session back in.
    fn unpark(&mut self) {
        let (Some(name), Some((aside, files))) = (self.new_name(), self.parked.pop()) else { return };
        let flagged = is_flagged(&aside);
        self.log_action(format!("unpark {name:?}{}", if flagged { " with its flag" } else { "" }));
        self.note(&name, &files, flagged);
        let folder = self.path(&name);
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        fs::rename(aside, folder).unwrap();
        self.folders.push(Folder { name, files, asked: flagged });
    }
}
