//! A builder of SQL conditions.

use rusqlite::types::Value as Sql;

/// The clauses of a `WHERE`, joined by `AND`, and their parameters.
#[derive(Default)]
pub(crate) struct Where {
    clauses: Vec<String>,
    pub values: Vec<Sql>,
}

impl Where {
    pub fn and(&mut self, clause: impl Into<String>, values: impl IntoIterator<Item = Sql>) {
        self.clauses.push(clause.into());
        self.values.extend(values);
    }

    /// ` WHERE …`, or empty.
    pub fn sql(&self) -> String {
        if self.clauses.is_empty() { String::new() } else { format!(" WHERE {}", self.clauses.join(" AND ")) }
    }
}
