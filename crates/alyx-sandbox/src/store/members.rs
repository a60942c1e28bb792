//! Records of the plain kinds, and logins.

use rusqlite::types::Value as Sql;
use serde_json::{Map, Value};

use crate::rules::kinds::Kind;
use crate::rules::names::TypePattern;
use crate::store::{Store, Where, t};

impl Store {
    pub fn member_exists(&self, kind: &str, name: &str) -> rusqlite::Result<bool> {
        self.conn.prepare_cached("SELECT 1 FROM member WHERE kind = ? AND name = ?")?.exists([kind, name])
    }

    /// A record of a plain kind.
    pub fn member(&self, kind: &str, name: &str) -> rusqlite::Result<Option<Map<String, Value>>> {
        self.row("SELECT record FROM member WHERE kind = ? AND name = ?", &[t(kind), t(name)], record)
    }

    /// The records of a kind that match a condition.
    pub fn members(
        &self,
        kind: &Kind,
        filter: &Where,
        (limit, offset): (u64, u64),
    ) -> rusqlite::Result<Vec<Map<String, Value>>> {
        let order = if kind.by_name { "name" } else { "seq" };
        let sql = format!(
            "SELECT record FROM member{} ORDER BY {order} LIMIT {limit} OFFSET {offset}",
            filter.sql()
        );
        self.rows(&sql, &filter.values, record)
    }

    /// Adds or replaces a record.
    pub fn put_member(
        &mut self,
        kind: &str,
        name: &str,
        record: &Map<String, Value>,
    ) -> rusqlite::Result<()> {
        (self.types, self.formats) = (None, None);
        self.run(
            "INSERT INTO member (kind, name, record) VALUES (?, ?, ?) \
             ON CONFLICT (kind, name) DO UPDATE SET record = excluded.record",
            &[t(kind), t(name), Sql::Text(Value::Object(record.clone()).to_string())],
        )
        .map(drop)
    }

    /// What the records that refer to a record of this kind and id hold: its id, or the name of a plain record.
    pub fn by_id(&self, kind: &str, id: &str) -> rusqlite::Result<Option<String>> {
        match kind {
            "sessions" | "datasets" => Ok(self.exists(kind, id)?.then(|| id.to_owned())),
            "subjects" => self.subject_name(id),
            _ => {
                let sql = "SELECT name FROM member WHERE kind = ? AND json_extract(record, '$.id') = ?";
                self.row(sql, &[t(kind), t(id)], |r| r.get(0))
            }
        }
    }

    /// Whether a record of a kind has this value in a field. The field's name is a constant, never a client's text.
    pub fn has_member_with(&self, kind: &str, field: &str, value: &str) -> rusqlite::Result<bool> {
        let sql = format!("SELECT 1 FROM member WHERE kind = ? AND json_extract(record, '$.{field}') = ?");
        self.conn.prepare_cached(&sql)?.exists([kind, value])
    }

    /// Deletes a record, and its name from the labs that link it.
    pub fn delete_member(&mut self, kind: &str, name: &str) -> rusqlite::Result<()> {
        (self.types, self.formats) = (None, None);
        self.run("DELETE FROM member WHERE kind = ? AND name = ?", &[t(kind), t(name)])?;
        if kind == "data-repository" {
            self.run(
                "UPDATE member SET record = json_set(record, '$.repositories', json((SELECT json_group_array(r.value) \
                 FROM json_each(record, '$.repositories') r WHERE r.value <> ?))) WHERE kind = 'labs'",
                &[t(name)],
            )?;
        }
        Ok(())
    }

    /// Whether a user may only read.
    pub fn is_public_user(&self, user: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM member WHERE kind = 'users' AND name = ? \
                   AND json_extract(record, '$.is_public_user')";
        self.conn.prepare_cached(sql)?.exists([user])
    }

    /// The names of the subjects for which a user is responsible.
    pub fn subjects_of(&self, user: &str) -> rusqlite::Result<Vec<Value>> {
        let sql = "SELECT nickname FROM subject WHERE responsible_user = ? ORDER BY seq";
        self.rows(sql, &[t(user)], |r| Ok(Value::String(r.get(0)?)))
    }

    /// The patterns of every dataset type.
    pub fn type_patterns(&mut self) -> rusqlite::Result<&[TypePattern]> {
        let types = match self.types.take() {
            Some(types) => types,
            None => {
                let sql = "SELECT name, coalesce(json_extract(record, '$.filename_pattern'), '') \
                           FROM member WHERE kind = 'dataset-types' ORDER BY name";
                self.rows(sql, &[], |r| Ok(TypePattern::new(r.get(0)?, &r.get::<_, String>(1)?)))?
            }
        };
        Ok(self.types.insert(types))
    }

    /// The names of the data formats with a file extension.
    pub fn formats_with(&mut self, extension: &str) -> rusqlite::Result<Vec<&str>> {
        let formats = match self.formats.take() {
            Some(formats) => formats,
            None => {
                let sql = "SELECT name, coalesce(json_extract(record, '$.file_extension'), '') \
                           FROM member WHERE kind = 'data-formats' ORDER BY name";
                self.rows(sql, &[], |r| Ok((r.get(0)?, r.get(1)?)))?
            }
        };
        let formats: &Vec<(String, String)> = self.formats.insert(formats);
        Ok(formats.iter().filter(|(_, e)| e == extension).map(|(name, _)| name.as_str()).collect())
    }

    /// The names of the repositories on a host.
    pub fn repositories_on(&self, hostname: &str) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT name FROM member WHERE kind = 'data-repository' \
                   AND json_extract(record, '$.hostname') = ? ORDER BY name";
        self.rows(sql, &[t(hostname)], |r| r.get(0))
    }

    /// The token of a user, if the password is correct; created at the first login and the same from then on.
    pub fn log_in(&self, username: &str, password: &str) -> rusqlite::Result<Option<String>> {
        let known = self.row(
            "SELECT token FROM login WHERE username = ? AND password = ?",
            &[t(username), t(password)],
            |r| r.get::<_, Option<String>>(0),
        )?;
        match known {
            None => Ok(None),
            Some(Some(token)) => Ok(Some(token)),
            Some(None) => {
                let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
                let token = token[..40].to_owned();
                self.run("UPDATE login SET token = ? WHERE username = ?", &[t(&token), t(username)])?;
                Ok(Some(token))
            }
        }
    }

    pub fn user_of_token(&self, token: &str) -> rusqlite::Result<Option<String>> {
        self.row("SELECT username FROM login WHERE token = ?", &[t(token)], |r| r.get(0))
    }

    pub fn forget_tokens(&self) -> rusqlite::Result<()> {
        self.run("UPDATE login SET token = NULL", &[]).map(drop)
    }

    pub fn put_login(&self, username: &str, password: &str) -> rusqlite::Result<()> {
        self.run(
            "INSERT INTO login (username, password) VALUES (?, ?) \
             ON CONFLICT (username) DO UPDATE SET password = excluded.password",
            &[t(username), t(password)],
        )
        .map(drop)
    }
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Map<String, Value>> {
    let text: String = row.get(0)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}
