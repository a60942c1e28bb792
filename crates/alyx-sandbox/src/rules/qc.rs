//! The quality grades of sessions and datasets.

/// The grades, worst first, in the order in which Alyx lists them.
pub(crate) const QC: [(&str, i64); 5] =
    [("CRITICAL", 50), ("FAIL", 40), ("WARNING", 30), ("NOT_SET", 0), ("PASS", 10)];

/// The name of a stored grade.
pub(crate) fn qc_name(grade: i64) -> &'static str {
    QC.iter().find(|(_, g)| *g == grade).map_or("NOT_SET", |(name, _)| name)
}

/// The grade of a name, in either case.
pub(crate) fn grade_named(name: &str) -> Option<i64> {
    QC.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, grade)| *grade)
}
