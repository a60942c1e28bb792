//! Creates the first records from the seed.

use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::rules::kinds::kind;
use crate::rules::time;
use crate::seed::{Seed, SeedSubject, SeedUser};
use crate::store::{Store, new_id, t};

impl Store {
    pub(super) fn seed(&mut self, seed: &Seed) -> rusqlite::Result<()> {
        for user in &seed.users {
            self.insert_user(user)?;
        }
        // Those of the public fixtures, then others.
        let kinds_of_repository = seed.repositories.iter().map(|r| r.kind.as_str());
        for name in ["Cardboard box", "Fileserver"].into_iter().chain(kinds_of_repository) {
            self.insert_member("data-repository-type", name, json!({}))?;
        }
        for r in &seed.repositories {
            let fields = json!({
                "timezone": r.timezone, "globus_path": r.globus_path, "hostname": r.hostname,
                "data_url": r.data_url, "repository_type": r.kind, "globus_is_personal": r.personal,
            });
            self.insert_member("data-repository", &r.name, fields)?;
        }
        for lab in &seed.labs {
            let fields = json!({"timezone": lab.timezone, "repositories": lab.repositories});
            self.insert_member("labs", &lab.name, fields)?;
        }
        for location in &seed.locations {
            self.insert_member("locations", &location.name, json!({"lab": location.lab}))?;
        }
        for (endpoint, list) in [
            ("projects", &seed.projects),
            ("procedures", &seed.procedures),
            ("water-type", &seed.water_types),
        ] {
            for name in list {
                self.insert_member(endpoint, name, json!({}))?;
            }
        }
        for tag in &seed.tags {
            self.insert_member("tags", &tag.name, json!({"protected": tag.protected}))?;
        }
        for format in &seed.data_formats {
            self.insert_member("data-formats", &format.name, json!({"file_extension": format.extension}))?;
        }
        for kind in &seed.dataset_types {
            self.insert_member("dataset-types", &kind.name, json!({"filename_pattern": kind.pattern}))?;
        }
        for subject in &seed.subjects {
            self.insert_subject(subject)?;
        }
        Ok(())
    }

    /// Adds a user, or changes the password of an existing one.
    pub fn insert_user(&mut self, user: &SeedUser) -> rusqlite::Result<()> {
        self.put_login(&user.username, &user.password)?;
        self.insert_member("users", &user.username, json!({"email": user.email, "lab": user.labs}))?;
        // Alyx does not show this field over REST.
        self.run(
            "UPDATE member SET record = json_set(record, '$.is_public_user', json(?)) WHERE kind = 'users' AND name = ?",
            &[t(if user.public { "true" } else { "false" }), t(&user.username)],
        )
        .map(drop)
    }

    /// Adds a subject, unless the name exists.
    pub fn insert_subject(&mut self, subject: &SeedSubject) -> rusqlite::Result<()> {
        let values = [
            t(&subject.nickname),
            Sql::Text(new_id()),
            t(&subject.lab),
            subject.responsible_user.clone().map_or(Sql::Null, Sql::Text),
            subject.birth_date.clone().map_or(Sql::Null, Sql::Text),
        ];
        self.run(
            "INSERT INTO subject (nickname, id, lab, responsible_user, birth_date, sex, projects, description) \
             VALUES (?, ?, ?, ?, ?, 'U', '[]', '') ON CONFLICT (nickname) DO NOTHING",
            &values,
        )
        .map(drop)
    }

    /// Adds a subject of which only the name is known, in the first lab, unless the name exists.
    pub fn insert_unknown_subject(&mut self, nickname: &str) -> rusqlite::Result<()> {
        let lab =
            self.row("SELECT name FROM member WHERE kind = 'labs' ORDER BY seq LIMIT 1", &[], |r| r.get(0))?;
        let Some(lab) = lab else { return Ok(()) };
        let (nickname, responsible_user) = (nickname.to_owned(), None);
        self.insert_subject(&SeedSubject { nickname, lab, responsible_user, birth_date: None })
    }

    /// Adds a record of a plain kind with its defaults, unless the name exists.
    pub fn insert_member(&mut self, endpoint: &str, name: &str, fields: Value) -> rusqlite::Result<()> {
        let (Some(kind), Value::Object(fields)) = (kind(endpoint), fields) else { return Ok(()) };
        if self.member_exists(endpoint, name)? {
            return Ok(());
        }
        let mut given: Map<String, Value> = fields;
        given.insert(kind.slug.into(), name.into());
        self.put_member(endpoint, name, &kind.new_record(&given, &time::now()))
    }
}
