//! A file system of the tests' own: a folder, mounted once more through FUSE, with the locks of a network drive, or one that
//! ceases to answer.
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, KernelConfig, MountOption, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
};

/// What the locks of a drive are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// Those of the server, for all computers.
    Remote,
    /// As NFS: only a file that is open to write can be locked.
    OnlyWritable,
    /// As SMB: what another handle has locked cannot be read either.
    Mandatory,
    /// As sshfs: granted without asking the server.
    LocalOnly,
    /// ENOLCK.
    Missing,
}

/// The server: the handles that hold a lock, by file.
#[derive(Debug, Default)]
struct Server {
    locked: HashMap<u64, u64>,
    last_handle: u64,
}

/// A computer that has mounted the drive.
pub struct Computer {
    // Unmounts first.
    _session: BackgroundSession,
    pub mount: tempfile::TempDir,
}

/// What a share no longer answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silent {
    #[default]
    Nothing,
    /// Reads of files that are not empty: flags are.
    Reads,
    /// Removing files.
    Removals,
    /// Looking for files named `*.npy`, which no scan does.
    Datasets,
    /// Looking for files named `*.npy`: it fails at once, with this error.
    Failing(i32),
    /// Giving a file another name.
    Moves,
    Everything,
}

/// What a share does not answer now, and how many calls wait for it.
#[derive(Debug, Default)]
struct Silence {
    now: Mutex<(Silent, usize)>,
    changed: Condvar,
}

impl Silence {
    fn set(&self, silent: Silent) {
        self.now.lock().unwrap().0 = silent;
        self.changed.notify_all();
    }

    /// Waits until this is answered.
    fn wait(&self, is_silent: impl Fn(Silent) -> bool) {
        let mut now = self.now.lock().unwrap();
        now.1 += 1;
        while is_silent(now.0) {
            now = self.changed.wait(now).unwrap();
        }
        now.1 -= 1;
    }
}

/// A mounted share that can cease to answer. Dropping it answers everything.
pub struct Share {
    silence: Arc<Silence>,
    computer: Computer,
}

impl Share {
    /// A share of this folder. `None`, with a line that says why, where that is not possible.
    pub fn of(folder: &Path) -> Option<Self> {
        let silence = Arc::new(Silence::default());
        let computer = or_skipped(mount(folder, Locks::Remote, Arc::default(), Arc::clone(&silence)))?;
        Some(Self { silence, computer })
    }

    pub fn path(&self) -> &Path {
        self.computer.mount.path()
    }

    pub fn set(&self, silent: Silent) {
        self.silence.set(silent);
    }

    /// How many calls wait for an answer.
    pub fn waiting(&self) -> usize {
        self.silence.now.lock().unwrap().1
    }
}

impl Drop for Computer {
    /// Also if a program that was killed still waits for an answer of it, when an ordinary unmount is refused.
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.mount.path()).output();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.silence.set(Silent::Nothing);
    }
}

fn mount(
    folder: &Path,
    locks: Locks,
    server: Arc<Mutex<Server>>,
    silence: Arc<Silence>,
) -> io::Result<Computer> {
    let mount = tempfile::tempdir()?;
    let paths = Arc::new(Mutex::new(HashMap::from([(fuser::FUSE_ROOT_ID, folder.to_owned())])));
    let drive = Drive { locks, server, silence, paths, open: HashMap::new() };
    let options = [MountOption::FSName("locks".into()), MountOption::Subtype("testdrive".into())];
    Ok(Computer { _session: fuser::spawn_mount2(drive, mount.path(), &options)?, mount })
}

fn or_skipped<T>(mounted: io::Result<T>) -> Option<T> {
    let skipped = |error| eprintln!("skipped: this system does not allow a FUSE file system ({error})");
    mounted.map_err(skipped).ok()
}

/// Two computers that mount one folder. `None`, with a line that says why, where that is not possible.
pub fn two_computers(folder: &Path, locks: Locks) -> Option<[Computer; 2]> {
    let server = Arc::new(Mutex::new(Server::default()));
    let mount = || mount(folder, locks, Arc::clone(&server), Arc::default());
    or_skipped(mount().and_then(|one| Ok([one, mount()?])))
}

/// How long the kernel may remember what it was told: it asks each time.
const TTL: Duration = Duration::ZERO;

type Paths = Arc<Mutex<HashMap<u64, PathBuf>>>;

struct Drive {
    locks: Locks,
    server: Arc<Mutex<Server>>,
    silence: Arc<Silence>,
    /// By inode.
    paths: Paths,
    /// By handle: the file, and whether it is open to write.
    open: HashMap<u64, (File, bool)>,
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn kind(metadata: &Metadata) -> FileType {
    match metadata.file_type() {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        _ => FileType::RegularFile,
    }
}

fn attr(metadata: &Metadata, inode: u64) -> FileAttr {
    let changed =
        SystemTime::UNIX_EPOCH + Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
    FileAttr {
        ino: inode,
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: changed,
        mtime: metadata.modified().unwrap(),
        ctime: changed,
        crtime: changed,
        kind: kind(metadata),
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn find(paths: &Paths, path: PathBuf) -> io::Result<FileAttr> {
    let metadata = fs::symlink_metadata(&path).map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))?;
    paths.lock().unwrap().insert(metadata.ino(), path);
    Ok(attr(&metadata, metadata.ino()))
}

impl Drive {
    /// Every call but reading begins here.
    fn path(&self, inode: u64) -> io::Result<PathBuf> {
        self.silence.wait(|silent| silent == Silent::Everything);
        self.paths.lock().unwrap().get(&inode).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn attr(&self, inode: u64) -> io::Result<FileAttr> {
        Ok(attr(&fs::symlink_metadata(self.path(inode)?)?, inode))
    }

    fn find(&self, parent: u64, name: &OsStr) -> io::Result<FileAttr> {
        find(&self.paths, self.path(parent)?.join(name))
    }

    fn open(&mut self, path: &Path, flags: i32, mode: u32) -> io::Result<u64> {
        let to_write = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let mut options = OpenOptions::new();
        // The kernel has resolved links and truncation.
        options.read(true).write(to_write).mode(mode).custom_flags(flags & libc::O_NONBLOCK);
        let file = options.create(flags & libc::O_CREAT != 0).open(path)?;
        let mut server = self.server.lock().unwrap();
        server.last_handle += 1;
        self.open.insert(server.last_handle, (file, to_write));
        Ok(server.last_handle)
    }

    /// Locks a file for a handle, or unlocks it.
    fn lock(&self, inode: u64, handle: u64, unlock: bool) -> Result<(), i32> {
        let mut server = self.server.lock().unwrap();
        let holder = server.locked.get(&inode).copied();
        let is_writable = self.open.get(&handle).is_some_and(|(_, to_write)| *to_write);
        match holder {
            _ if self.locks == Locks::Missing => return Err(libc::ENOLCK),
            Some(holder) if unlock && holder == handle => _ = server.locked.remove(&inode),
            _ if unlock => {}
            _ if self.locks == Locks::OnlyWritable && !is_writable => return Err(libc::EBADF),
            Some(holder) if holder != handle => return Err(libc::EAGAIN),
            _ => _ = server.locked.insert(inode, handle),
        }
        Ok(())
    }
}

impl Filesystem for Drive {
    fn init(&mut self, _: &Request<'_>, config: &mut KernelConfig) -> Result<(), i32> {
        if self.locks != Locks::LocalOnly {
            config.add_capabilities(fuser::consts::FUSE_FLOCK_LOCKS).map_err(|_| libc::ENOSYS)?;
        }
        Ok(())
    }

    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let path = self.path(parent).map(|path| path.join(name));
        let (silence, paths) = (Arc::clone(&self.silence), Arc::clone(&self.paths));
        let is_dataset = name.as_encoded_bytes().ends_with(b".npy");
        if let (Silent::Failing(error), true) = (silence.now.lock().unwrap().0, is_dataset) {
            return reply.error(error);
        }
        let answer = move || match path.and_then(|path| find(&paths, path)) {
            Ok(attr) => reply.entry(&TTL, &attr, 0),
            Err(error) => reply.error(code(&error)),
        };
        if !is_dataset {
            return answer();
        }
        std::thread::spawn(move || {
            silence.wait(|silent| silent == Silent::Datasets);
            answer();
        });
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        match self.attr(inode) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn setattr(
        &mut self,
        request: &Request<'_>,
        inode: u64,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, inode, handle, reply);
    }

    fn open(&mut self, _: &Request<'_>, inode: u64, flags: i32, reply: ReplyOpen) {
        let opened = self.path(inode).and_then(|path| self.open(&path, flags, 0));
        match opened {
            Ok(handle) => reply.opened(handle, fuser::consts::FOPEN_DIRECT_IO),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let path = self.path(parent).map(|path| path.join(name));
        let opened = path.and_then(|path| self.open(&path, flags | libc::O_CREAT | libc::O_RDWR, mode));
        match opened.and_then(|handle| Ok((handle, self.find(parent, name)?))) {
            Ok((handle, attr)) => reply.created(&TTL, &attr, 0, handle, fuser::consts::FOPEN_DIRECT_IO),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        handle: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let holder = self.server.lock().unwrap().locked.get(&inode).copied();
        if self.locks == Locks::Mandatory && holder.is_some_and(|holder| holder != handle) {
            return reply.error(libc::EACCES);
        }
        let (file, silence) = (self.open[&handle].0.try_clone().unwrap(), Arc::clone(&self.silence));
        let answer = move || {
            let is_empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
            silence.wait(|silent| silent == Silent::Everything || silent == Silent::Reads && !is_empty);
            let mut buffer = vec![0; size as usize];
            match file.read_at(&mut buffer, offset as u64) {
                Ok(n) => reply.data(&buffer[..n]),
                Err(error) => reply.error(code(&error)),
            }
        };
        // Of its own, so that everything else is answered.
        std::thread::spawn(answer);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        handle: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        match self.open[&handle].0.write_at(data, offset as u64) {
            Ok(n) => reply.written(n as u32),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let (path, silence) = (self.path(parent).map(|path| path.join(name)), Arc::clone(&self.silence));
        std::thread::spawn(move || {
            silence.wait(|silent| silent == Silent::Removals);
            match path.and_then(fs::remove_file) {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(code(&error)),
            }
        });
    }

    fn mkdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.path(parent).and_then(|path| fs::create_dir(path.join(name)));
        match made.and_then(|()| self.find(parent, name)) {
            Ok(attr) => reply.entry(&TTL, &attr, 0),
            Err(error) => reply.error(code(&error)),
        }
    }

    /// The other half of a move: the kernel does not ask this version of the protocol to rename without replacing.
    fn link(&mut self, _: &Request<'_>, inode: u64, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let (from, to) = (self.path(inode), self.path(parent).map(|path| path.join(name)));
        let (silence, paths) = (Arc::clone(&self.silence), Arc::clone(&self.paths));
        std::thread::spawn(move || {
            silence.wait(|silent| silent == Silent::Moves);
            let linked = || {
                let (from, to) = (from?, to?);
                fs::hard_link(from, &to)?;
                find(&paths, to)
            };
            match linked() {
                Ok(attr) => reply.entry(&TTL, &attr, 0),
                Err(error) => reply.error(code(&error)),
            }
        });
    }

    fn readdir(&mut self, _: &Request<'_>, inode: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        let list = || -> io::Result<Vec<_>> { fs::read_dir(self.path(inode)?)?.collect() };
        let Ok(mut entries) = list() else { return reply.error(libc::EIO) };
        entries.sort_by_key(fs::DirEntry::file_name);
        for (at, entry) in entries.iter().enumerate().skip(offset as usize) {
            let Ok(metadata) = entry.metadata() else { continue };
            if reply.add(metadata.ino(), at as i64 + 1, kind(&metadata), entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn setlk(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        handle: u64,
        _: u64,
        _: u64,
        _: u64,
        kind: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        match self.lock(inode, handle, kind == libc::F_UNLCK) {
            Ok(()) => reply.ok(),
            Err(code) => reply.error(code),
        }
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        handle: u64,
        _: i32,
        _: Option<u64>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let _ = self.lock(inode, handle, true);
        self.open.remove(&handle);
        reply.ok();
    }
}
