//! Weighings and water administrations.

use serde_json::{Map, Value, json};

use crate::store::{Store, Where, plain, t};

/// The water of a day that Alyx expects, in ml for each gram of weight.
pub(super) const DAILY_WATER: f64 = 0.04;

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

    pub fn delete_measurement(&self, table: &str, id: &str) -> rusqlite::Result<()> {
        self.run(&format!("DELETE FROM {table} WHERE id = ?"), &[t(id)]).map(drop)
    }

    /// The day of a subject's first measurement.
    pub fn first_measured(&self, subject: &str) -> rusqlite::Result<Option<String>> {
        let sql = "SELECT min(day) FROM (SELECT substr(date_time, 1, 10) AS day FROM weighing WHERE subject = ?1 \
                   UNION ALL SELECT substr(date_time, 1, 10) FROM water WHERE subject = ?1)";
        Ok(self.row(sql, &[t(subject)], |r| r.get(0))?.flatten())
    }

    /// A subject's weight and water of a day, in the form of its water requirement.
    pub fn water_of(&self, subject: &str, day: &str) -> rusqlite::Result<Value> {
        let values = [t(subject), t(day)];
        let number = |sql: &str| self.row(sql, &values, |r| r.get::<_, Option<f64>>(0)).map(Option::flatten);
        let last = "SELECT weight FROM weighing WHERE subject = ? AND substr(date_time, 1, 10) <= ? \
                    ORDER BY date_time DESC, seq DESC LIMIT 1";
        let that_day = last.replace("<=", "=");
        let given = |of_session: &str| {
            let sql = format!(
                "SELECT coalesce(sum(water_administered), 0) FROM water WHERE subject = ? \
                 AND substr(date_time, 1, 10) = ? AND session IS {of_session}"
            );
            number(&sql).map(Option::unwrap_or_default)
        };
        let weight = number(last)?.unwrap_or(0.0);
        let (reward, supplement) = (given("NOT NULL")?, given("NULL")?);
        let (total, expected) = (reward + supplement, round(weight * DAILY_WATER));
        Ok(json!({
            "date": day, "weight": weight, "weighing_at": number(&that_day)?, "reference_weight": 0.0,
            "expected_weight": 0, "min_weight": 0.0, "percentage_weight": 0.0, "given_water_reward": reward,
            "given_water_supplement": supplement, "given_water_total": total, "expected_water": expected,
            "excess_water": round(total - expected), "is_water_restricted": false, "implant_weight": 0,
        }))
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

/// Rounds to six decimals, so that sums of tenths print as such.
pub(super) fn round(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}
