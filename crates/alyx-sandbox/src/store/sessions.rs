//! Sessions.

use rusqlite::Row;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::rules::qc::qc_name;
use crate::store::{Store, Where, object, plain, structured, t};

/// The tables of a list of sessions.
pub(crate) const SESSIONS: &str = "FROM session s";

/// The fields of a session that `/register-file` needs.
pub(crate) struct SessionRow {
    pub id: String,
    pub number: Option<i64>,
    pub start_time: Option<String>,
    pub users: Vec<String>,
    pub parent: Option<String>,
}

impl Store {
    /// Sessions in the form of a list, latest first. Those without a start time come before all others.
    pub fn sessions(
        &self,
        filter: &Where,
        (limit, offset): (u64, u64),
        base: &str,
    ) -> rusqlite::Result<Vec<Value>> {
        let order = "ORDER BY s.start_time DESC NULLS FIRST, s.seq";
        let sql = format!("SELECT s.* {SESSIONS}{} {order} LIMIT {limit} OFFSET {offset}", filter.sql());
        self.rows(&sql, &filter.values, |row| {
            let id: String = row.get("id")?;
            Ok(json!({
                "id": id, "subject": plain(row, "subject")?, "start_time": plain(row, "start_time")?,
                "number": plain(row, "number")?, "lab": plain(row, "lab")?,
                "projects": structured(row, "projects")?, "url": format!("{base}/sessions/{id}"),
                "task_protocol": plain(row, "task_protocol")?,
            }))
        })
    }

    /// Every session's id, in the order of creation.
    pub fn session_ids(&self) -> rusqlite::Result<Vec<String>> {
        self.rows("SELECT id FROM session ORDER BY seq", &[], |r| r.get(0))
    }

    /// One session in full.
    pub fn session(&self, id: &str, base: &str) -> rusqlite::Result<Option<Value>> {
        let record = self.row("SELECT * FROM session WHERE id = ?", &[t(id)], |row| full(row, base))?;
        let Some(mut record) = record else { return Ok(None) };
        record.insert("wateradmin_session_related".into(), self.session_water(id)?.into());
        record.insert("data_dataset_session_related".into(), self.session_datasets(id, base)?.into());
        Ok(Some(Value::Object(record)))
    }

    /// Deletes a session with its datasets, even protected ones: Alyx's cascade does not check.
    pub fn delete_session(&self, id: &str) -> rusqlite::Result<()> {
        let datasets: Vec<String> =
            self.rows("SELECT id FROM dataset WHERE session = ?", &[t(id)], |r| r.get(0))?;
        for dataset in datasets {
            self.delete_dataset(&dataset)?;
        }
        self.run("UPDATE water SET session = NULL WHERE session = ?", &[t(id)])?;
        self.run("UPDATE session SET parent_session = NULL WHERE parent_session = ?", &[t(id)])?;
        self.run("DELETE FROM session WHERE id = ?", &[t(id)]).map(drop)
    }

    /// The session without a parent of a subject on a day, with the smallest id.
    ///
    /// Alyx sorts by id, not by number, so chance decides which session of a day becomes the parent.
    pub fn base_session(&self, subject: &str, date: &str) -> rusqlite::Result<Option<SessionRow>> {
        let sql = "SELECT * FROM session WHERE subject = ? AND start_time >= ? AND start_time < ? || 'U' \
                   AND parent_session IS NULL ORDER BY id LIMIT 1";
        self.row(sql, &[t(subject), t(date), t(date)], brief)
    }

    /// The first session, by id, with this subject, date and number.
    pub fn numbered_session(
        &self,
        subject: &str,
        date: &str,
        number: i64,
    ) -> rusqlite::Result<Option<SessionRow>> {
        let sql = "SELECT * FROM session WHERE subject = ? AND start_time >= ? AND start_time < ? || 'U' \
                   AND number = ? ORDER BY id LIMIT 1";
        self.row(sql, &[t(subject), t(date), t(date), Sql::Integer(number)], brief)
    }
}

fn brief(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    let users: String = row.get("users")?;
    Ok(SessionRow {
        id: row.get("id")?,
        number: row.get("number")?,
        start_time: row.get("start_time")?,
        users: serde_json::from_str(&users).unwrap_or_default(),
        parent: row.get("parent_session")?,
    })
}

fn full(row: &Row<'_>, base: &str) -> rusqlite::Result<Map<String, Value>> {
    let id: String = row.get("id")?;
    let parent: Option<String> = row.get("parent_session")?;
    let record = json!({
        "subject": plain(row, "subject")?, "users": structured(row, "users")?, "location": plain(row, "location")?,
        "procedures": structured(row, "procedures")?, "lab": plain(row, "lab")?,
        "projects": structured(row, "projects")?, "type": plain(row, "type")?,
        "task_protocol": plain(row, "task_protocol")?, "number": plain(row, "number")?,
        "start_time": plain(row, "start_time")?, "end_time": plain(row, "end_time")?,
        "narrative": plain(row, "narrative")?, "parent_session": parent.map(|p| format!("{base}/sessions/{p}")),
        "n_correct_trials": plain(row, "n_correct_trials")?, "n_trials": plain(row, "n_trials")?,
        "url": format!("{base}/sessions/{id}"), "extended_qc": structured(row, "extended_qc")?,
        "qc": qc_name(row.get("qc")?), "wateradmin_session_related": [], "data_dataset_session_related": [],
        "auto_datetime": plain(row, "auto_datetime")?, "id": id, "json": structured(row, "json")?,
        "probe_insertion": [], "field_of_view": [], "notes": [],
    });
    Ok(object(record))
}
