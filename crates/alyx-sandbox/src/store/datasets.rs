//! Datasets, their tags and revisions.

use rusqlite::Row;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::rules::qc::qc_name;
use crate::store::files::data_url;
use crate::store::{Store, Where, new_id, object, plain, structured, t};

/// The tables of a list of datasets.
pub(crate) const DATASETS: &str = "FROM dataset d LEFT JOIN session s ON s.id = d.session";

/// The fields that all revisions of a dataset share.
#[derive(Clone, Debug)]
pub(crate) struct DatasetKey {
    pub session: Option<String>,
    /// Such as `subjects.subject`, for a dataset outside a session.
    pub content_type: Option<String>,
    pub object_id: Option<String>,
    pub collection: String,
    pub name: String,
}

/// The fields of a dataset that `/register-file` needs.
pub(crate) struct DatasetRow {
    pub id: String,
    pub hash: String,
    pub new: bool,
}

impl DatasetKey {
    const SQL: &'static str =
        "name = ? AND collection = ? AND session IS ? AND content_type IS ? AND object_id IS ?";

    fn values(&self) -> Vec<Sql> {
        let null_or = |v: &Option<String>| v.clone().map_or(Sql::Null, Sql::Text);
        let owner = [&self.session, &self.content_type, &self.object_id].map(null_or);
        [t(&self.name), t(&self.collection)].into_iter().chain(owner).collect()
    }
}

impl Store {
    /// Datasets in the form of a list, sorted by id, or not at all.
    pub fn datasets(
        &self,
        filter: &Where,
        (limit, offset): (u64, u64),
        base: &str,
    ) -> rusqlite::Result<Vec<Value>> {
        let order = if self.shuffled { "random()" } else { "d.id" };
        let sql =
            format!("SELECT d.id {DATASETS}{} ORDER BY {order} LIMIT {limit} OFFSET {offset}", filter.sql());
        let ids: Vec<String> = self.rows(&sql, &filter.values, |r| r.get(0))?;
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            out.extend(self.dataset(&id, base, true)?);
        }
        Ok(out)
    }

    /// One dataset. Only a list shows whether it is protected and public.
    pub fn dataset(&self, id: &str, base: &str, listed: bool) -> rusqlite::Result<Option<Value>> {
        let sql = "SELECT d.*, s.number AS experiment_number FROM dataset d \
                   LEFT JOIN session s ON s.id = d.session WHERE d.id = ?";
        let Some(mut record) = self.row(sql, &[t(id)], |row| full(row, base))? else { return Ok(None) };
        record.insert("file_records".into(), self.dataset_files(id)?.into());
        let sql = "SELECT t.tag, coalesce(json_extract(m.record, '$.protected'), 0), \
                   coalesce(json_extract(m.record, '$.public'), 0) FROM dataset_tag t \
                   LEFT JOIN member m ON m.kind = 'tags' AND m.name = t.tag WHERE t.dataset = ? ORDER BY t.tag";
        let tags: Vec<(String, i64, i64)> =
            self.rows(sql, &[t(id)], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        if listed {
            record.insert("protected".into(), tags.iter().map(|x| x.1).sum::<i64>().into());
            record.insert("public".into(), tags.iter().map(|x| x.2).sum::<i64>().into());
        } else {
            record.shift_remove("protected");
            record.shift_remove("public");
        }
        record.insert("tags".into(), tags.into_iter().map(|x| x.0).collect::<Vec<_>>().into());
        Ok(Some(Value::Object(record)))
    }

    /// A session's datasets in the form of its record: those that a server has.
    pub(super) fn session_datasets(&self, session: &str, base: &str) -> rusqlite::Result<Vec<Value>> {
        let on_server = "EXISTS (SELECT 1 FROM file_record f JOIN member m ON m.kind = 'data-repository' \
                         AND m.name = f.repository WHERE f.dataset = d.id AND f.present \
                         AND json_extract(m.record, '$.globus_is_personal') = 0)";
        let condition = if self.has_servers()? { on_server } else { "1" };
        let sql = format!("SELECT d.* FROM dataset d WHERE d.session = ? AND {condition} ORDER BY d.seq");
        let mut found = self.rows(&sql, &[t(session)], |row| {
            let id: String = row.get("id")?;
            Ok(json!({
                "id": id, "name": plain(row, "name")?, "dataset_type": plain(row, "dataset_type")?,
                "data_url": null, "url": format!("{base}/datasets/{id}"), "file_size": plain(row, "file_size")?,
                "hash": plain(row, "hash")?, "version": plain(row, "version")?,
                "collection": plain(row, "collection")?,
                "revision": row.get::<_, Option<String>>("revision")?.unwrap_or_default(),
                "default_revision": if row.get("default_dataset")? { "True" } else { "False" },
                "qc": qc_name(row.get("qc")?),
            }))
        })?;
        for record in &mut found {
            let id = record["id"].as_str().unwrap_or_default().to_owned();
            let sql = "SELECT json_extract(m.record, '$.data_url'), f.relative_path FROM file_record f \
                       JOIN member m ON m.kind = 'data-repository' AND m.name = f.repository \
                       WHERE f.dataset = ? AND f.present AND json_extract(m.record, '$.data_url') IS NOT NULL \
                       ORDER BY json_extract(m.record, '$.globus_is_personal'), f.repository DESC LIMIT 1";
            let url = self.row(sql, &[t(&id)], |r| {
                Ok(data_url(&r.get::<_, String>(0)?, &r.get::<_, String>(1)?, &id))
            })?;
            record["data_url"] = url.into();
            // Here a revision is given by its id, not by its name.
            let name = record["revision"].as_str().unwrap_or_default().to_owned();
            if let Some(revision) = self.member("revisions", &name)?.filter(|_| !name.is_empty()) {
                record["revision"] = revision.get("id").cloned().unwrap_or(Value::Null);
            }
        }
        Ok(found)
    }

    /// Clears the default flag of all revisions.
    pub fn clear_default(&self, key: &DatasetKey, now: &str) -> rusqlite::Result<()> {
        let sql = format!(
            "UPDATE dataset SET default_dataset = 0, auto_datetime = ? WHERE {} AND default_dataset",
            DatasetKey::SQL
        );
        let values: Vec<Sql> = std::iter::once(t(now)).chain(key.values()).collect();
        self.run(&sql, &values).map(drop)
    }

    /// Finds a dataset by all fields of its identity, or creates it.
    pub fn get_or_create_dataset(
        &self,
        key: &DatasetKey,
        (kind, format): (&str, &str),
        revision: Option<&str>,
        now: &str,
    ) -> rusqlite::Result<DatasetRow> {
        let revision = revision.map_or(Sql::Null, t);
        let sql = format!(
            "SELECT id, hash FROM dataset WHERE {} AND dataset_type = ? AND data_format = ? AND revision IS ? LIMIT 1",
            DatasetKey::SQL
        );
        let mut values = key.values();
        values.extend([t(kind), t(format), revision]);
        let read = |r: &Row<'_>| Ok(DatasetRow { id: r.get(0)?, hash: r.get(1)?, new: false });
        if let Some(found) = self.row(&sql, &values, read)? {
            return Ok(found);
        }
        let id = new_id();
        values.extend([t(&id), t(now), t(now)]);
        self.run(
            "INSERT INTO dataset (name, collection, session, content_type, object_id, dataset_type, data_format, \
             revision, id, created_datetime, auto_datetime, hash, version, default_dataset, qc) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', 1, 0)",
            &values,
        )?;
        Ok(DatasetRow { id, hash: String::new(), new: true })
    }

    /// Replaces a dataset's tags.
    pub fn tag_dataset(&self, id: &str, tags: &[&str]) -> rusqlite::Result<()> {
        self.run("DELETE FROM dataset_tag WHERE dataset = ?", &[t(id)])?;
        for tag in tags {
            self.run("INSERT OR IGNORE INTO dataset_tag (dataset, tag) VALUES (?, ?)", &[t(id), t(tag)])?;
        }
        Ok(())
    }

    /// The tags that protect a dataset.
    pub fn protecting_tags(&self, id: &str) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT t.tag FROM dataset_tag t JOIN member m ON m.kind = 'tags' AND m.name = t.tag \
                   WHERE t.dataset = ? AND json_extract(m.record, '$.protected') ORDER BY t.tag";
        self.rows(sql, &[t(id)], |r| r.get(0))
    }

    /// The revisions of a dataset, newest first and the original last, and whether each is protected.
    pub fn revisions(&self, key: &DatasetKey) -> rusqlite::Result<Vec<(String, bool)>> {
        let sql = format!(
            "SELECT d.id, coalesce(d.revision, '') FROM (SELECT * FROM dataset WHERE {}) d \
             LEFT JOIN member m ON m.kind = 'revisions' AND m.name = d.revision \
             ORDER BY json_extract(m.record, '$.created_datetime') DESC NULLS LAST, d.seq",
            DatasetKey::SQL
        );
        let found: Vec<(String, String)> = self.rows(&sql, &key.values(), |r| Ok((r.get(0)?, r.get(1)?)))?;
        found.into_iter().map(|(id, name)| Ok((name, !self.protecting_tags(&id)?.is_empty()))).collect()
    }

    pub fn delete_dataset(&self, id: &str) -> rusqlite::Result<()> {
        self.run("DELETE FROM file_record WHERE dataset = ?", &[t(id)])?;
        self.run("DELETE FROM dataset_tag WHERE dataset = ?", &[t(id)])?;
        self.run("DELETE FROM dataset WHERE id = ?", &[t(id)]).map(drop)
    }

    /// A dataset in the form of `/register-file`'s answer, without the session fields, which the caller adds.
    pub fn registered(&self, id: &str) -> rusqlite::Result<Map<String, Value>> {
        let record = self.row("SELECT * FROM dataset WHERE id = ?", &[t(id)], |row| {
            let mut out = Map::new();
            for column in
                ["id", "name", "file_size", "created_by", "created_datetime", "dataset_type", "data_format"]
            {
                out.insert(column.into(), plain(row, column)?);
            }
            out.insert("content_type".into(), plain(row, "content_type")?);
            out.insert("object_id".into(), plain(row, "object_id")?);
            out.insert("collection".into(), plain(row, "collection")?);
            out.insert(
                "revision".into(),
                row.get::<_, Option<String>>("revision")?.unwrap_or_default().into(),
            );
            out.insert("default".into(), row.get::<_, bool>("default_dataset")?.into());
            out.insert("qc".into(), plain(row, "qc")?);
            Ok(out)
        })?;
        Ok(record.unwrap_or_default())
    }
}

fn full(row: &Row<'_>, base: &str) -> rusqlite::Result<Map<String, Value>> {
    let id: String = row.get("id")?;
    let session: Option<String> = row.get("session")?;
    let record = json!({
        "url": format!("{base}/datasets/{id}"), "name": plain(row, "name")?, "created_by": plain(row, "created_by")?,
        "created_datetime": plain(row, "created_datetime")?, "dataset_type": plain(row, "dataset_type")?,
        "data_format": plain(row, "data_format")?, "collection": plain(row, "collection")?,
        "session": session.map(|s| format!("{base}/sessions/{s}")), "file_size": plain(row, "file_size")?,
        "hash": plain(row, "hash")?, "version": plain(row, "version")?,
        "experiment_number": plain(row, "experiment_number")?, "file_records": [],
        "auto_datetime": plain(row, "auto_datetime")?,
        "revision": row.get::<_, Option<String>>("revision")?.unwrap_or_default(),
        "default_dataset": row.get::<_, bool>("default_dataset")?, "protected": 0, "public": 0, "tags": [],
        "qc": qc_name(row.get("qc")?), "json": structured(row, "json")?,
    });
    Ok(object(record))
}
