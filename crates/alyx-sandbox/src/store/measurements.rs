//! Weighings and water administrations.

use serde_json::{Map, Value, json};

use crate::store::{Store, Where, plain, t};

impl Store {
    /// Measurements in the order of creation. `table` is `weighing` or `water`, never a client's text.
    pub fn measurements(
        &self,
        table: &str,
        filter: &Where,
        (limit, offset): (u64, u64),
        base: &str,
    ) -> rusqlite::Result<Vec<Value>> {
        let sql =
            format!("SELECT m.* FROM {table} m{} ORDER BY m.seq LIMIT {limit} OFFSET {offset}", filter.sql());
        let water = table == "water";
        self.rows(&sql, &filter.values, |row| {
            let id: String = row.get("id")?;
            let mut out = Map::new();
            let columns: &[&str] = if water {
                &["subject", "date_time", "water_administered", "water_type", "user"]
            } else {
                &["subject", "date_time", "weight", "user"]
            };
            for column in columns {
                out.insert((*column).into(), plain(row, column)?);
            }
            let endpoint = if water { "water-administrations" } else { "weighings" };
            out.insert("url".into(), format!("{base}/{endpoint}/{id}").into());
            if water {
                out.insert("session".into(), plain(row, "session")?);
                out.insert("adlib".into(), row.get::<_, bool>("adlib")?.into());
            }
            Ok(Value::Object(out))
        })
    }

    /// A session's water administrations in the form of its record.
    pub(super) fn session_water(&self, session: &str) -> rusqlite::Result<Vec<Value>> {
        let sql = "SELECT id, water_type, water_administered FROM water WHERE session = ? ORDER BY seq";
        self.rows(sql, &[t(session)], |row| {
            Ok(json!({
                "id": plain(row, "id")?, "name": "", "water_type": plain(row, "water_type")?,
                "water_administered": plain(row, "water_administered")?,
            }))
        })
    }
}
