//! A condition in SQL under construction.

use rusqlite::types::Value as Sql;

/// The clauses of a `WHERE`, all of which must hold, and their parameters.
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

    /// ` WHERE …`, or nothing.
    pub fn sql(&self) -> String {
        if self.clauses.is_empty() { String::new() } else { format!(" WHERE {}", self.clauses.join(" AND ")) }
    }
}
