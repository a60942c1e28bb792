//! The sandbox's database: an SQLite file or memory, one connection.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

mod datasets;
mod files;
mod measurements;
mod members;
mod seeding;
mod sessions;
mod subjects;
mod r#where;

pub(super) use crate::store::datasets::{DATASETS, DatasetKey};
pub(super) use crate::store::files::{FILES, Repository};
pub(super) use crate::store::sessions::SESSIONS;
pub(super) use crate::store::r#where::Where;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde_json::{Map, Value};

use crate::error::SandboxError;
use crate::http::message::Error;
use crate::options::Database;
use crate::rules::names::TypePattern;
use crate::seed::Seed;

/// The open store.
pub(super) struct Store {
    conn: Connection,
    /// Cache of the dataset types' patterns, read again after a change: each registered file is compared with all.
    types: Option<Vec<TypePattern>>,
    /// Cache of the data formats' names and extensions.
    formats: Option<Vec<(String, String)>>,
    /// See [`crate::SandboxOptions::auto_create`].
    pub auto_create: bool,
    /// See [`crate::SandboxHandle::shuffle_datasets`].
    pub shuffled: bool,
}

impl Store {
    /// Opens the database; a new one gets the seed.
    pub fn open(database: &Database, seed: &Seed) -> Result<Store, SandboxError> {
        let conn = match database {
            Database::Memory => Connection::open_in_memory().map_err(SandboxError::Store)?,
            Database::File(path) => {
                private_file(path).map_err(|e| SandboxError::File(path.clone(), e))?;
                let conn = Connection::open(path).map_err(SandboxError::Store)?;
                conn.pragma_update(None, "journal_mode", "WAL").map_err(SandboxError::Store)?;
                conn
            }
        };
        // Practice data: a power cut may cost the last seconds, never the file.
        conn.pragma_update(None, "synchronous", "NORMAL").map_err(SandboxError::Store)?;
        // Otherwise SQLite replans a cached statement whenever a parameter of a comparison changes.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(SandboxError::Store)?;
        conn.set_prepared_statement_cache_capacity(256);
        let mut store = Store { conn, types: None, formats: None, auto_create: false, shuffled: false };
        store.set_up(seed).map_err(SandboxError::Store)?;
        Ok(store)
    }

    fn set_up(&mut self, seed: &Seed) -> rusqlite::Result<()> {
        self.conn.execute_batch("BEGIN")?;
        self.conn.execute_batch(include_str!("schema.sql"))?;
        let has_json = "SELECT 1 FROM pragma_table_info('file_record') WHERE name = 'json'";
        if !self.conn.prepare(has_json)?.exists([])? {
            // A database of an earlier version.
            self.conn.execute_batch("ALTER TABLE file_record ADD COLUMN json TEXT")?;
        }
        let seeded: i64 = self.conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
        if seeded == 0 {
            self.seed(seed)?;
            self.conn.pragma_update(None, "user_version", 1)?;
        }
        self.conn.execute_batch("COMMIT")
    }

    /// Runs one request. A refusal keeps the changes made before it, because Alyx's requests are not transactions.
    /// Only a failure of the database rolls back.
    pub fn work<T>(&mut self, job: impl FnOnce(&mut Store) -> Result<T, Error>) -> Result<T, Error> {
        self.conn.execute_batch("BEGIN")?;
        let outcome = job(self);
        let end = if matches!(outcome, Err(Error::Store(_))) { "ROLLBACK" } else { "COMMIT" };
        self.conn.execute_batch(end)?;
        outcome
    }

    /// Whether a record of a kind exists, by the name with which other records refer to it.
    pub fn exists(&self, kind: &str, name: &str) -> rusqlite::Result<bool> {
        let sql = match kind {
            "subjects" => "SELECT 1 FROM subject WHERE nickname = ?",
            "sessions" => "SELECT 1 FROM session WHERE id = ?",
            "datasets" => "SELECT 1 FROM dataset WHERE id = ?",
            _ => return self.member_exists(kind, name),
        };
        self.conn.prepare_cached(sql)?.exists([name])
    }

    /// The number of records of these tables that match a condition.
    pub fn count(&self, from: &str, filter: &Where) -> rusqlite::Result<u64> {
        let sql = format!("SELECT count(*) {from}{}", filter.sql());
        let mut statement = self.conn.prepare_cached(&sql)?;
        let n: i64 = statement.query_row(params_from_iter(&filter.values), |r| r.get(0))?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    fn rows<T>(
        &self,
        sql: &str,
        values: &[Sql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.conn.prepare_cached(sql)?.query_map(params_from_iter(values), read)?.collect()
    }

    fn row<T>(
        &self,
        sql: &str,
        values: &[Sql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.conn.prepare_cached(sql)?.query_row(params_from_iter(values), read).optional()
    }

    fn run(&self, sql: &str, values: &[Sql]) -> rusqlite::Result<usize> {
        self.conn.prepare_cached(sql)?.execute(params_from_iter(values))
    }

    /// Updates columns of the record with an id. Table and column names are constants, never a client's text.
    pub fn update(&self, table: &str, id: &str, columns: &Map<String, Value>) -> rusqlite::Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = columns.keys().map(|k| format!("{k} = ?")).collect();
        let mut values: Vec<Sql> = columns.iter().map(|(k, v)| stored(k, v)).collect();
        values.push(Sql::Text(id.to_owned()));
        self.run(&format!("UPDATE {table} SET {} WHERE id = ?", names.join(", ")), &values).map(drop)
    }

    /// Inserts a record. Table and column names are constants, never a client's text.
    pub fn insert(&self, table: &str, columns: &Map<String, Value>) -> rusqlite::Result<()> {
        let names: Vec<&str> = columns.keys().map(String::as_str).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let values: Vec<Sql> = columns.iter().map(|(k, v)| stored(k, v)).collect();
        self.run(&format!("INSERT INTO {table} ({}) VALUES ({marks})", names.join(", ")), &values).map(drop)
    }
}

/// Text for a parameter.
fn t(text: &str) -> Sql {
    Sql::Text(text.to_owned())
}

/// A value in the form of its column: structured data as JSON text (a JSON string keeps its quotes).
fn stored(column: &str, value: &Value) -> Sql {
    match value {
        Value::Null => Sql::Null,
        _ if matches!(column, "json" | "extended_qc") => Sql::Text(value.to_string()),
        Value::Bool(yes) => Sql::Integer(i64::from(*yes)),
        Value::Number(n) => n.as_i64().map_or_else(|| Sql::Real(n.as_f64().unwrap_or(0.0)), Sql::Integer),
        Value::String(text) => t(text),
        Value::Array(_) | Value::Object(_) => Sql::Text(value.to_string()),
    }
}

/// The fields of a JSON object.
fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(fields) = value { fields } else { Map::new() }
}

/// A plain column as JSON.
fn plain(row: &Row<'_>, column: &str) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
        ValueRef::Integer(n) => n.into(),
        ValueRef::Real(x) => x.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
    })
}

/// A column of JSON text as JSON.
fn structured(row: &Row<'_>, column: &str) -> rusqlite::Result<Value> {
    let text: Option<String> = row.get(column)?;
    Ok(text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or(Value::Null))
}

/// A new id.
pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A name, percent-encoded as a segment of a URL's path.
pub(super) fn path_segment(name: &str) -> String {
    const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');
    utf8_percent_encode(name, &ENCODED).to_string()
}

/// Creates the file before SQLite does, readable only by its owner: it holds passwords and tokens.
fn private_file(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}
