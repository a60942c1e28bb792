//! Subjects.

use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::rules::time;
use crate::store::measurements::{DAILY_WATER, round};
use crate::store::{Store, Where, object, path_segment, plain, structured, t};

impl Store {
    /// Subjects in the form of a list, in the order of creation.
    pub fn subjects(
        &self,
        filter: &Where,
        (limit, offset): (u64, u64),
        base: &str,
        now: &str,
    ) -> rusqlite::Result<Vec<Value>> {
        let sql =
            format!("SELECT s.* FROM subject s{} ORDER BY s.seq LIMIT {limit} OFFSET {offset}", filter.sql());
        let rows = self.rows(&sql, &filter.values, read)?;
        rows.into_iter().map(|row| self.subject_record(row, base, now).map(Value::Object)).collect()
    }

    /// One subject with its weighings and water administrations.
    pub fn subject(&self, nickname: &str, base: &str, now: &str) -> rusqlite::Result<Option<Value>> {
        let row = self.row("SELECT s.* FROM subject s WHERE nickname = ?", &[t(nickname)], read)?;
        let Some(row) = row else { return Ok(None) };
        let mut record = self.subject_record(row, base, now)?;
        let mut of_subject = Where::default();
        of_subject.and("m.subject = ?", [t(nickname)]);
        let all = (u64::MAX >> 1, 0);
        record.insert("weighings".into(), self.measurements("weighing", &of_subject, all, base)?.into());
        record.insert(
            "water_administrations".into(),
            self.measurements("water", &of_subject, all, base)?.into(),
        );
        Ok(Some(Value::Object(record)))
    }

    fn subject_record(
        &self,
        row: Map<String, Value>,
        base: &str,
        now: &str,
    ) -> rusqlite::Result<Map<String, Value>> {
        let of = |key: &str| row.get(key).cloned().unwrap_or(Value::Null);
        let nickname = of("nickname").as_str().unwrap_or_default().to_owned();
        let weight = self.row(
            "SELECT weight FROM weighing WHERE subject = ? ORDER BY date_time DESC, seq DESC LIMIT 1",
            &[t(&nickname)],
            |r| r.get::<_, Option<f64>>(0),
        )?;
        let expected = round(weight.flatten().unwrap_or(0.0) * DAILY_WATER);
        let today = now.get(..10).unwrap_or_default();
        let given: Option<f64> = self
            .row(
                "SELECT sum(water_administered) FROM water WHERE subject = ? AND substr(date_time, 1, 10) = ?",
                &[t(&nickname), t(today)],
                |r| r.get(0),
            )?
            .flatten();
        let projects = self.rows(
            "SELECT DISTINCT p.value FROM session s, json_each(s.projects) p WHERE s.subject = ?",
            &[t(&nickname)],
            |r| Ok(Value::String(r.get(0)?)),
        )?;
        let (birth, death) = (of("birth_date"), of("death_date"));
        let alive = death.as_str().is_none_or(|d| d > today);
        let url = format!("{base}/subjects/{}", path_segment(&nickname));
        let record = json!({
            "nickname": nickname, "url": url, "id": of("id"), "responsible_user": of("responsible_user"),
            "birth_date": birth, "age_weeks": birth.as_str().map_or(0, |b| time::weeks_since(b, now)),
            "death_date": death, "species": "Laboratory mouse", "sex": of("sex"), "litter": null, "strain": null,
            "source": null, "line": null, "projects": of("projects"), "session_projects": projects,
            "lab": of("lab"), "genotype": [], "description": of("description"), "alive": alive,
            "reference_weight": 0.0, "last_water_restriction": null, "expected_water": expected,
            "remaining_water": round(expected - given.unwrap_or(0.0)), "json": of("json"),
        });
        Ok(object(record))
    }

    /// Deletes a subject with its sessions and measurements: Alyx's cascade.
    pub fn delete_subject(&self, nickname: &str) -> rusqlite::Result<()> {
        let sql = "SELECT id FROM session WHERE subject = ?";
        for session in self.rows(sql, &[t(nickname)], |r| r.get::<_, String>(0))? {
            self.delete_session(&session)?;
        }
        for table in ["weighing", "water"] {
            self.run(&format!("DELETE FROM {table} WHERE subject = ?"), &[t(nickname)])?;
        }
        self.run("DELETE FROM subject WHERE nickname = ?", &[t(nickname)]).map(drop)
    }

    pub fn subject_lab(&self, nickname: &str) -> rusqlite::Result<Option<String>> {
        self.row("SELECT lab FROM subject WHERE nickname = ?", &[t(nickname)], |r| r.get(0))
    }

    /// Whether an object of this model exists, for datasets outside a session.
    pub fn object_exists(&self, model: &str, id: &str) -> rusqlite::Result<bool> {
        let by_id = |sql: &str| self.conn.prepare_cached(sql)?.exists([id]);
        match model {
            "subject" => by_id("SELECT 1 FROM subject WHERE id = ?"),
            "session" => by_id("SELECT 1 FROM session WHERE id = ?"),
            "dataset" => by_id("SELECT 1 FROM dataset WHERE id = ?"),
            "tag" => by_id("SELECT 1 FROM member WHERE kind = 'tags' AND json_extract(record, '$.id') = ?"),
            _ => Ok(false),
        }
    }

    /// The nickname of the subject with this id.
    pub fn subject_name(&self, id: &str) -> rusqlite::Result<Option<String>> {
        self.row("SELECT nickname FROM subject WHERE id = ?", &[Sql::Text(id.to_owned())], |r| r.get(0))
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Map<String, Value>> {
    let mut out = Map::new();
    for name in
        ["nickname", "id", "responsible_user", "birth_date", "death_date", "sex", "lab", "description"]
    {
        out.insert(name.into(), plain(row, name)?);
    }
    for name in ["projects", "json"] {
        out.insert(name.into(), structured(row, name)?);
    }
    Ok(out)
}
