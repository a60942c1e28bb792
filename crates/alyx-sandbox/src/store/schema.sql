-- Names, not numbers, link the records: the sandbox does not rename.
CREATE TABLE IF NOT EXISTS login (username TEXT PRIMARY KEY, password TEXT NOT NULL, token TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS member (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, record TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE IF NOT EXISTS subject (
    seq INTEGER PRIMARY KEY, nickname TEXT NOT NULL UNIQUE, id TEXT NOT NULL UNIQUE, lab TEXT NOT NULL,
    responsible_user TEXT, birth_date TEXT, death_date TEXT, sex TEXT NOT NULL, projects TEXT NOT NULL,
    description TEXT NOT NULL, json TEXT);
CREATE TABLE IF NOT EXISTS session (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, users TEXT NOT NULL, location TEXT,
    procedures TEXT NOT NULL, lab TEXT, projects TEXT NOT NULL, type TEXT, task_protocol TEXT NOT NULL,
    number INTEGER, start_time TEXT, end_time TEXT, narrative TEXT NOT NULL, parent_session TEXT,
    n_correct_trials INTEGER, n_trials INTEGER, extended_qc TEXT, qc INTEGER NOT NULL, json TEXT,
    auto_datetime TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS session_subject ON session (subject, start_time);
CREATE INDEX IF NOT EXISTS session_nickname ON session (lower(subject));
CREATE INDEX IF NOT EXISTS session_parent ON session (parent_session);
CREATE TABLE IF NOT EXISTS dataset (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created_by TEXT,
    created_datetime TEXT NOT NULL, dataset_type TEXT NOT NULL, data_format TEXT NOT NULL,
    collection TEXT NOT NULL, session TEXT, content_type TEXT, object_id TEXT, file_size INTEGER,
    hash TEXT NOT NULL, version TEXT NOT NULL, revision TEXT, default_dataset INTEGER NOT NULL,
    qc INTEGER NOT NULL, json TEXT, auto_datetime TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS dataset_session ON dataset (session, name);
CREATE INDEX IF NOT EXISTS dataset_object ON dataset (object_id, name);
CREATE TABLE IF NOT EXISTS dataset_tag (dataset TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (dataset, tag));
CREATE INDEX IF NOT EXISTS dataset_tag_tag ON dataset_tag (tag);
CREATE TABLE IF NOT EXISTS file_record (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, dataset TEXT NOT NULL, repository TEXT NOT NULL,
    relative_path TEXT NOT NULL, present INTEGER NOT NULL, json TEXT, UNIQUE (repository, relative_path));
CREATE INDEX IF NOT EXISTS file_record_dataset ON file_record (dataset);
CREATE TABLE IF NOT EXISTS weighing (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, date_time TEXT, weight REAL, user TEXT);
CREATE INDEX IF NOT EXISTS weighing_subject ON weighing (subject);
CREATE TABLE IF NOT EXISTS water (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, date_time TEXT,
    water_administered REAL, water_type TEXT, user TEXT, session TEXT, adlib INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS water_subject ON water (subject);
CREATE INDEX IF NOT EXISTS water_session ON water (session);
