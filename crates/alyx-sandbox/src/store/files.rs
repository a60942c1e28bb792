//! File records: which repository has a dataset's file.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use crate::store::{Store, Where, new_id, plain, structured, t};

/// The tables of a list of file records.
pub(crate) const FILES: &str = "FROM file_record f JOIN dataset d ON d.id = f.dataset \
                                LEFT JOIN session s ON s.id = d.session";

/// The fields of a data repository that file records need.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Repository {
    pub name: String,
    /// False for a server. Only servers count for `exists` filters and for the datasets of a session's record.
    pub personal: Option<bool>,
    pub data_url: Option<String>,
    pub path: String,
}

impl Store {
    pub fn repository(&self, name: &str) -> rusqlite::Result<Option<Repository>> {
        let Some(record) = self.member("data-repository", name)? else { return Ok(None) };
        let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Some(Repository {
            name: name.to_owned(),
            personal: record.get("globus_is_personal").and_then(Value::as_bool),
            data_url: text("data_url"),
            path: text("globus_path").unwrap_or_default(),
        }))
    }

    /// Whether any repository is a server.
    pub fn has_servers(&self) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM member WHERE kind = 'data-repository' \
                   AND json_extract(record, '$.globus_is_personal') = 0";
        self.conn.prepare_cached(sql)?.exists([])
    }

    /// A dataset's file records in the form of `/register-file`'s answer.
    pub fn registered_files(&self, dataset: &str) -> rusqlite::Result<Vec<Value>> {
        let sql =
            "SELECT id, repository, relative_path, present FROM file_record WHERE dataset = ? ORDER BY seq";
        self.rows(sql, &[t(dataset)], |row| {
            Ok(json!({
                "id": row.get::<_, String>(0)?, "data_repository": row.get::<_, String>(1)?,
                "relative_path": row.get::<_, String>(2)?, "exists": row.get::<_, bool>(3)?,
            }))
        })
    }

    /// A dataset's file records in the form of its record.
    pub(super) fn dataset_files(&self, dataset: &str) -> rusqlite::Result<Vec<Value>> {
        let sql = "SELECT f.id, f.repository, coalesce(json_extract(m.record, '$.globus_path'), ''), \
                   f.relative_path, json_extract(m.record, '$.data_url'), f.present FROM file_record f \
                   LEFT JOIN member m ON m.kind = 'data-repository' AND m.name = f.repository \
                   WHERE f.dataset = ? ORDER BY f.seq";
        self.rows(sql, &[t(dataset)], |row| {
            let (path, root): (String, Option<String>) = (row.get(3)?, row.get(4)?);
            Ok(json!({
                "id": row.get::<_, String>(0)?, "data_repository": row.get::<_, String>(1)?,
                "data_repository_path": row.get::<_, String>(2)?, "relative_path": path,
                "data_url": root.map(|r| data_url(&r, &path, dataset)), "exists": row.get::<_, bool>(5)?,
            }))
        })
    }

    /// File records in the form of a list, and of their own URL, in the order of creation.
    pub fn files(
        &self,
        filter: &Where,
        (limit, offset): (u64, u64),
        base: &str,
    ) -> rusqlite::Result<Vec<Value>> {
        let sql = format!("SELECT f.* {FILES}{} ORDER BY f.seq LIMIT {limit} OFFSET {offset}", filter.sql());
        self.rows(&sql, &filter.values, |row| {
            let (id, dataset): (String, String) = (row.get("id")?, row.get("dataset")?);
            Ok(json!({
                "url": format!("{base}/files/{id}"), "dataset": format!("{base}/datasets/{dataset}"),
                "data_repository": plain(row, "repository")?, "name": "", "json": structured(row, "json")?,
                "relative_path": plain(row, "relative_path")?, "exists": row.get::<_, bool>("present")?,
            }))
        })
    }

    /// A dataset counts as updated when one of its files is.
    pub fn touch_dataset_of(&self, file: &str, now: &str) -> rusqlite::Result<()> {
        let sql =
            "UPDATE dataset SET auto_datetime = ? WHERE id = (SELECT dataset FROM file_record WHERE id = ?)";
        self.run(sql, &[t(now), t(file)]).map(drop)
    }

    pub fn delete_file(&self, id: &str) -> rusqlite::Result<()> {
        self.run("DELETE FROM file_record WHERE id = ?", &[t(id)]).map(drop)
    }

    /// Finds or creates a file record. `Ok(None)` if the path belongs to another dataset.
    ///
    /// `present` is set on a new record, and on one whose file has changed.
    pub fn put_file(
        &self,
        dataset: &str,
        repository: &str,
        path: &str,
        present: bool,
        changed: bool,
    ) -> rusqlite::Result<Option<()>> {
        let values =
            [Sql::Text(new_id()), t(dataset), t(repository), t(path), Sql::Integer(i64::from(present))];
        let sql = "INSERT INTO file_record (id, dataset, repository, relative_path, present) \
                   VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        if self.run(sql, &values)? == 1 {
            return Ok(Some(()));
        }
        let sql = "SELECT dataset FROM file_record WHERE repository = ? AND relative_path = ?";
        let owner: Option<String> = self.row(sql, &values[2..4], |r| r.get(0))?;
        if owner.is_some_and(|owner| owner != dataset) {
            return Ok(None);
        }
        if changed {
            let sql = "UPDATE file_record SET present = ? WHERE repository = ? AND relative_path = ?";
            self.run(sql, &[Sql::Integer(i64::from(present)), t(repository), t(path)])?;
        }
        Ok(Some(()))
    }
}

/// The address of a file on a server: its path with the dataset's id before the extension.
pub(crate) fn data_url(root: &str, path: &str, dataset: &str) -> String {
    let (stem, extension) = path.rsplit_once('.').unwrap_or((path, ""));
    format!("{root}{stem}.{dataset}.{extension}")
}
