//! A ledger as a text that can be read and reviewed, and back. Times are relative to the moment of the dump, so that
//! rows that are kept for N days are still kept whenever the test runs.

use std::fmt::Write as _;
use std::path::Path;

use regex::Regex;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// Columns with milliseconds since 1970.
const TIMES: [&str; 4] = ["at", "since", "next", "used"];

/// The file as statements, with `root` and moments replaced.
pub fn dump(file: &Path, root: &str) -> String {
    let connection = Connection::open(file).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    let mut out = format!(
        "PRAGMA journal_mode = {mode};\nPRAGMA application_id = {};\nPRAGMA user_version = {};\n",
        pragma("application_id"),
        pragma("user_version")
    );
    let mut schema = connection
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
        .unwrap();
    let made: Vec<(String, String, String)> = schema
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (_, _, sql) in &made {
        let _ = writeln!(out, "{sql};");
    }
    for (_, table, _) in made.iter().filter(|(kind, ..)| kind == "table") {
        let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(at, column)| {
                    literal(row.get_ref(at).unwrap(), TIMES.contains(&column.as_str()).then_some(now))
                })
                .collect();
            let _ =
                writeln!(out, "INSERT INTO {table} ({}) VALUES ({});", columns.join(", "), values.join(", "));
        }
    }
    out.replace(root, "<root>")
}

fn literal(value: ValueRef<'_>, now: Option<i64>) -> String {
    let quoted = |bytes: &[u8]| format!("'{}'", std::str::from_utf8(bytes).unwrap().replace('\'', "''"));
    match (value, now) {
        (ValueRef::Null, _) => "NULL".to_owned(),
        (ValueRef::Integer(time), Some(now)) => format!("<now{:+}>", time - now),
        (ValueRef::Integer(number), None) => number.to_string(),
        (ValueRef::Real(number), _) => number.to_string(),
        (ValueRef::Text(text), _) => quoted(text),
        (ValueRef::Blob(bytes), _) => format!("CAST({} AS BLOB)", quoted(bytes)),
    }
}

/// Makes the file from its dump.
pub fn load(dump: &str, file: &Path, root: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let moment = Regex::new("<now([+-][0-9]+)>").unwrap();
    let text = moment.replace_all(dump, |found: &regex::Captures<'_>| {
        (now + found[1].parse::<i64>().unwrap()).to_string()
    });
    Connection::open(file).unwrap().execute_batch(&text.replace("<root>", root)).unwrap();
}
