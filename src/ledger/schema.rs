//! The schema of the ledger: opens, creates and migrates the file.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use crate::ledger::problem::Problem;
use crate::ledger::{BUSY, Connection, Open, OpenFlags};

/// One step per version. A released step never changes; add a new one.
///
/// Times are milliseconds since 1970, except a file's own, which are nanoseconds. Paths are bytes.
pub(super) const MIGRATIONS: [&str; 10] = [
    "
    CREATE TABLE waiting (
        flag BLOB PRIMARY KEY,
        stamp TEXT NOT NULL,
        session TEXT NOT NULL,
        since INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        next INTEGER NOT NULL,
        needs_person INTEGER NOT NULL,
        error TEXT NOT NULL,
        next_step TEXT NOT NULL,
        missing TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE outcome (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        session TEXT NOT NULL,
        subject TEXT,
        date TEXT,
        flag BLOB NOT NULL,
        attempt INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        eid TEXT,
        n_files INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        took INTEGER NOT NULL,
        left_out TEXT NOT NULL,
        error TEXT,
        next_step TEXT,
        next INTEGER
    ) STRICT;
    CREATE INDEX outcome_at ON outcome (at);
    CREATE INDEX outcome_session ON outcome (session);
    CREATE TABLE checksum (
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime INTEGER NOT NULL,
        ctime INTEGER NOT NULL,
        md5 TEXT NOT NULL,
        proof TEXT NOT NULL,
        used INTEGER NOT NULL,
        PRIMARY KEY (device, inode)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX checksum_used ON checksum (used);
    CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE outcome ADD COLUMN files TEXT NOT NULL DEFAULT '[]';
    CREATE TABLE gap (
        folder BLOB PRIMARY KEY,
        session TEXT NOT NULL,
        at INTEGER NOT NULL,
        eid TEXT NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        files TEXT NOT NULL,
        acknowledged INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE acknowledged (pattern TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE untyped (
        root BLOB NOT NULL,
        kind TEXT NOT NULL,
        PRIMARY KEY (root, kind)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE look (
        folder BLOB PRIMARY KEY,
        session TEXT NOT NULL,
        eid TEXT NOT NULL,
        done INTEGER NOT NULL,
        due INTEGER NOT NULL,
        snapshot TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE gap_of_kind (
        folder BLOB NOT NULL,
        session TEXT NOT NULL,
        at INTEGER NOT NULL,
        eid TEXT NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        files TEXT NOT NULL,
        acknowledged INTEGER NOT NULL,
        PRIMARY KEY (folder, kind)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO gap_of_kind SELECT * FROM gap;
    DROP TABLE gap;
    ALTER TABLE gap_of_kind RENAME TO gap;
",
    "
    ALTER TABLE waiting ADD COLUMN kind TEXT;
    ALTER TABLE outcome ADD COLUMN kind TEXT;
",
    "ALTER TABLE outcome ADD COLUMN described TEXT;",
    "ALTER TABLE outcome ADD COLUMN command TEXT;",
    // When each file was read last and compared with Alyx. The stamp and the MD5 are those of the last reading that agreed.
    "
    CREATE TABLE verified (
        path BLOB PRIMARY KEY,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime INTEGER NOT NULL,
        ctime INTEGER NOT NULL,
        md5 TEXT NOT NULL,
        verified_at INTEGER NOT NULL,
        result TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX verified_verified_at ON verified (verified_at);
    CREATE TABLE verified_session (
        folder BLOB PRIMARY KEY,
        verified_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    // When a difference was first seen, and on which disk: only what is seen twice is marked on Alyx.
    "
    CREATE TABLE sighting (
        eid TEXT NOT NULL,
        repository TEXT NOT NULL,
        path TEXT NOT NULL,
        mark TEXT NOT NULL,
        session TEXT NOT NULL,
        evidence TEXT NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (eid, repository, path, mark)
    ) STRICT, WITHOUT ROWID;
",
    // The files of an outcome, which go with it. `reason`: why one was left out.
    "
    CREATE TABLE outcome_file (
        outcome INTEGER NOT NULL,
        path TEXT NOT NULL,
        size INTEGER,
        md5 TEXT,
        reason TEXT,
        PRIMARY KEY (outcome, path)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER outcome_gone AFTER DELETE ON outcome BEGIN
        DELETE FROM outcome_file WHERE outcome = old.id;
    END;
",
    // The sessions whose copies in other repositories are waited for.
    "
    CREATE TABLE follow (
        eid TEXT PRIMARY KEY,
        session TEXT NOT NULL,
        since INTEGER NOT NULL,
        next INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        state TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX follow_next ON follow (next);
",
];

/// The version that this program writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Refuses what SQLite would wait for, or take for its own: a pipe, a device, a folder.
fn check_files(path: &Path) -> Result<(), Problem> {
    for file in ["", "-journal", "-wal", "-shm"].map(|end| beside(path, end)) {
        if fs::metadata(&file).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Problem::NotAFile(file));
        }
    }
    Ok(())
}

/// Opens the ledger; creates it if it is missing, and migrates an older one.
pub(super) fn open(path: &Path) -> Result<Open, Problem> {
    if let Some(folder) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(folder);
        made.map_err(|e| Problem::Unusable(e.to_string()))?;
    }
    check_files(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let work = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        // Not a write-ahead log: its index is a file mapped into memory, and another process that cuts it short ends this
        // one with SIGBUS. A ledger of 0.1.0 that someone reads at this moment is converted at the next start.
        match connection.pragma_update_and_check(None, "journal_mode", "TRUNCATE", |_| Ok(())) {
            Err(error) if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) => {
                return Err(error);
            }
            _ => {}
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    let mut connection = work().map_err(|e| Problem::of(&e))?;
    let version = migrate(&mut connection).map_err(|e| Problem::of(&e))?;
    if version > VERSION {
        return Err(Problem::Newer(version));
    }
    opened(path, connection)
}

/// Opens an existing ledger, to read it or to change rows. `None`: its daemon creates it at this moment.
pub(super) fn open_existing(path: &Path, change: bool) -> Result<Option<Open>, Problem> {
    check_files(path)?;
    let access = if change { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let work = |connection: rusqlite::Result<Connection>| {
        let connection = connection?;
        connection.busy_timeout(BUSY)?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok::<_, rusqlite::Error>((version, connection))
    };
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let first = work(Connection::open_with_flags(path, flags));
    // To read a ledger of 0.1.0, a user needs a shared index and may not be able to create it. Without a log there is no
    // writer, so the file can be opened as immutable.
    let log = beside(path, "-wal");
    let outcome = match (first, path.to_str()) {
        (Err(_), Some(text)) if !change && !log.exists() => work(open_immutable(text)),
        (outcome, _) => outcome,
    };
    let (version, mut connection) = outcome.map_err(|e| Problem::of(&e))?;
    match version {
        0 => return Ok(None),
        newer if newer > VERSION => return Err(Problem::Newer(newer)),
        // An older one is read as it is, and migrated before it is changed.
        _ => {}
    }
    if change {
        migrate(&mut connection).map_err(|e| Problem::of(&e))?;
    }
    opened(path, connection).map(Some)
}

/// Checks whether a ledger can be used, without creating even the files that SQLite creates for a reader. A ledger
/// with a log or a journal is being written, or was when its daemon was killed; it is not checked.
pub(super) fn check(path: &Path) -> Result<(), Problem> {
    check_files(path)?;
    let has = |end: &str| fs::metadata(beside(path, end)).is_ok_and(|metadata| metadata.len() > 0);
    let Some(text) = path.to_str().filter(|_| !has("-wal") && !has("-journal")) else { return Ok(()) };
    let work = || open_immutable(text)?.pragma_query_value(None, "user_version", |row| row.get(0));
    match work().map_err(|e| Problem::of(&e))? {
        // The next start migrates it.
        version if version <= VERSION => Ok(()),
        newer => Err(Problem::Newer(newer)),
    }
}

/// A file that SQLite creates beside the ledger.
fn beside(path: &Path, end: &str) -> std::path::PathBuf {
    path.with_file_name(format!("{}{end}", crate::ledger::FILE_NAME))
}

/// Opens a file that has no writer.
fn open_immutable(path: &str) -> rusqlite::Result<Connection> {
    let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
}

fn opened(path: &Path, connection: Connection) -> Result<Open, Problem> {
    let metadata = fs::metadata(path).map_err(|e| Problem::Unusable(e.to_string()))?;
    Ok(Open { connection, identity: (metadata.dev(), metadata.ino()) })
}

/// Migrates the schema, each step completely or not at all. Returns the version; a newer one is left alone.
fn migrate(connection: &mut Connection) -> rusqlite::Result<u32> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (step, to) in MIGRATIONS.iter().zip(1u32..).skip(version as usize) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", to)?;
    }
    transaction.commit()?;
    Ok(version.max(VERSION))
}

/// Moves a damaged ledger aside, replacing an earlier damaged one.
pub(super) fn set_aside(path: &Path) -> Result<(), Problem> {
    let unusable = |e: std::io::Error| Problem::Unusable(e.to_string());
    fs::rename(path, path.with_file_name(format!("{}.damaged", crate::ledger::FILE_NAME)))
        .map_err(unusable)?;
    for end in ["-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(path, end)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unusable(error)),
            _ => {}
        }
    }
    Ok(())
}
