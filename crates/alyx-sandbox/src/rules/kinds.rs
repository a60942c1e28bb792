//! The kinds of plain records, which have a name and a few fields but no logic of their own: labs, users, tags …

use serde_json::{Map, Value};

use crate::rules::fields::Field;
use crate::rules::member_fields as written;

/// What Alyx allows on most lists.
pub(crate) const LIST: &str = "GET, POST, HEAD, OPTIONS";
/// What Alyx allows on most records.
pub(crate) const DETAIL: &str = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS";
/// What Alyx allows where a client can only read.
pub(crate) const READ: &str = "GET, HEAD, OPTIONS";

/// One kind of plain record.
pub(crate) struct Kind {
    pub endpoint: &'static str,
    /// The model's name, as in Alyx's 404.
    pub model: &'static str,
    /// The field that names a record, in the URL and in other records.
    pub slug: &'static str,
    /// Sorted by name; otherwise in the order of creation.
    pub by_name: bool,
    /// Whether a record has its own URL.
    pub detail: bool,
    /// The methods of its list, and of a record.
    pub list_allows: &'static str,
    pub one_allows: &'static str,
    /// The fields that a client can write; none if the sandbox does not let clients write such records.
    pub written: &'static [Field],
    /// Fields that a list can be filtered by, exactly.
    pub filters: &'static [&'static str],
    /// Every field with its default, as JSON, in the order in which a record shows them. `<id>` is a new id, `<now>` the
    /// time of creation; `<url>` and `<subjects>` are computed when a record is shown.
    fields: &'static str,
}

const PLAIN: Kind = Kind {
    endpoint: "",
    model: "",
    slug: "name",
    by_name: false,
    detail: true,
    list_allows: LIST,
    one_allows: DETAIL,
    written: &[],
    filters: &[],
    fields: "{}",
};

/// Every kind of plain record.
pub(crate) static KINDS: [Kind; 12] = [
    Kind {
        endpoint: "users",
        model: "LabMember",
        slug: "username",
        by_name: true,
        filters: &["id", "username", "email", "is_stock_manager"],
        fields: r#"{"id": "<id>", "username": null, "email": "", "subjects_responsible": "<subjects>",
            "lab": [], "allowed_users": [], "is_stock_manager": false}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "labs",
        model: "Lab",
        written: written::LAB,
        filters: &["name", "institution", "address", "timezone"],
        fields: r#"{"name": null, "institution": "", "address": "", "timezone": "UTC", "repositories": [],
            "reference_weight_pct": 0.0, "zscore_weight_pct": 0.0, "json": null}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "data-repository-type",
        model: "DataRepositoryType",
        written: written::REPOSITORY_TYPE,
        by_name: true,
        fields: r#"{"url": "<url>", "json": null, "name": null}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "data-repository",
        model: "DataRepository",
        written: written::REPOSITORY,
        by_name: true,
        filters: &["name", "globus_is_personal", "globus_endpoint_id"],
        fields: r#"{"name": null, "timezone": "UTC", "globus_path": "", "hostname": "", "data_url": null,
            "repository_type": null, "globus_endpoint_id": null, "globus_is_personal": null,
            "json": null}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "projects",
        model: "Project",
        written: written::PROJECT,
        fields: r#"{"name": null, "description": "", "users": []}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "procedures",
        model: "ProcedureType",
        detail: false,
        fields: r#"{"id": "<id>", "name": null, "json": null, "description": ""}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "locations",
        model: "LabLocation",
        list_allows: READ,
        one_allows: "GET, PUT, PATCH, HEAD, OPTIONS",
        written: written::LOCATION,
        fields: r#"{"name": null, "lab": null, "json": null}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "water-type",
        model: "WaterType",
        // Alyx returns the whole list at a water type's own URL.
        detail: false,
        fields: r#"{"url": "<url>", "json": null, "name": null}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "tags",
        model: "Tag",
        written: written::TAG,
        by_name: true,
        filters: &["name"],
        fields: r#"{"id": "<id>", "json": null, "name": "", "description": "", "protected": false,
            "public": false, "hash": null}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "revisions",
        model: "Revision",
        written: written::REVISION,
        by_name: true,
        filters: &["name"],
        fields: r#"{"id": "<id>", "json": null, "name": "", "description": "", "created_datetime": "<now>"}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "data-formats",
        model: "DataFormat",
        written: written::DATA_FORMAT,
        by_name: true,
        fields: r#"{"id": "<id>", "json": null, "name": null, "description": "", "file_extension": null,
            "matlab_loader_function": "", "python_loader_function": ""}"#,
        ..PLAIN
    },
    Kind {
        endpoint: "dataset-types",
        model: "DatasetType",
        written: written::DATASET_TYPE,
        by_name: true,
        fields: r#"{"id": "<id>", "name": null, "created_by": null, "description": "",
            "filename_pattern": null}"#,
        ..PLAIN
    },
];

/// The kind of plain record at an endpoint.
pub(crate) fn kind(endpoint: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.endpoint == endpoint)
}

impl Kind {
    /// The noun for a record in messages: `dataset type`.
    pub fn noun(&self) -> String {
        let mut noun = String::new();
        for letter in self.model.chars() {
            if letter.is_uppercase() && !noun.is_empty() {
                noun.push(' ');
            }
            noun.extend(letter.to_lowercase());
        }
        noun
    }

    /// Every field with its default.
    pub fn fields(&self) -> Map<String, Value> {
        serde_json::from_str(self.fields).unwrap_or_default()
    }

    /// A new record: the given fields, and the defaults of the others.
    pub fn new_record(&self, given: &Map<String, Value>, now: &str) -> Map<String, Value> {
        let mut record = self.fields();
        for (name, value) in &mut record {
            match (given.get(name), value.as_str()) {
                (Some(given), _) => *value = given.clone(),
                (None, Some("<id>")) => *value = uuid::Uuid::new_v4().to_string().into(),
                (None, Some("<now>")) => *value = now.into(),
                _ => {}
            }
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_fields() {
        assert!(KINDS.iter().all(|kind| kind.fields().contains_key(kind.slug)));
    }
}
