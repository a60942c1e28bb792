//! The plain kinds of record: a name, a few fields, no rules of their own. Labs, users, repositories, types, tags …

use crate::fields::{Field, Rule, field, required};

const TEXT: Rule = Rule::Text { max: 1023, blank: true };
const NAME: Rule = Rule::Name { blank: false, words: None };

pub(super) const LIST: &str = "GET, POST, HEAD, OPTIONS";
pub(super) const DETAIL: &str = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS";
pub(super) const READ: &str = "GET, HEAD, OPTIONS";

/// One plain kind.
pub(super) struct Kind {
    pub endpoint: &'static str,
    /// As 404 calls it.
    pub model: &'static str,
    /// As a duplicate's message calls it.
    pub label: &'static str,
    /// The field that names a record, in the URL and where others refer to it.
    pub slug: &'static str,
    /// Sorted by name; otherwise in the order of creation.
    pub by_name: bool,
    pub list: &'static str,
    /// `None`: a record has no address of its own.
    pub detail: Option<&'static str>,
    /// Fields that a list can be filtered by, exactly.
    pub filters: &'static [&'static str],
    pub fields: &'static [Field],
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn revision_char(c: char) -> bool {
    word(c) || matches!(c, '.' | '-')
}

/// Every plain kind.
pub(super) static KINDS: [Kind; 12] = [
    Kind {
        endpoint: "users",
        model: "LabMember",
        label: "user",
        slug: "username",
        by_name: true,
        list: LIST,
        detail: Some(DETAIL),
        filters: &["id", "username", "email", "is_stock_manager"],
        fields: &[
            field("id", Rule::Id, "null"),
            required("username", NAME),
            field("email", TEXT, "\"\""),
            field("subjects_responsible", Rule::Computed, "[]"),
            field("lab", Rule::Computed, "[]"),
            field("allowed_users", Rule::Slugs { of: "users", by: "username" }, "[]"),
            field("is_stock_manager", Rule::Bool, "false"),
        ],
    },
    Kind {
        endpoint: "labs",
        model: "Lab",
        label: "lab",
        slug: "name",
        by_name: false,
        list: LIST,
        detail: Some(DETAIL),
        filters: &["name", "institution", "address", "timezone"],
        fields: &[
            required(
                "name",
                Rule::Name {
                    blank: false,
                    words: Some((word, "Lab name must only contain letters, numbers, and underscores.")),
                },
            ),
            field("institution", TEXT, "\"\""),
            field("address", TEXT, "\"\""),
            field("timezone", TEXT, "\"UTC\""),
            field("repositories", Rule::Slugs { of: "data-repository", by: "name" }, "[]"),
            field("reference_weight_pct", Rule::Float { at_least_zero: false }, "0.0"),
            field("zscore_weight_pct", Rule::Float { at_least_zero: false }, "0.0"),
            field("json", Rule::Json, "null"),
        ],
    },
    Kind {
        endpoint: "data-repository-type",
        model: "DataRepositoryType",
        label: "data repository type",
        slug: "name",
        by_name: true,
        list: LIST,
        detail: Some(DETAIL),
        filters: &[],
        fields: &[field("url", Rule::Url, "null"), field("json", Rule::Json, "null"), required("name", NAME)],
    },
    Kind {
        endpoint: "data-repository",
        model: "DataRepository",
        label: "data repository",
        slug: "name",
        by_name: true,
        list: LIST,
        detail: Some(DETAIL),
        filters: &["name", "globus_is_personal", "globus_endpoint_id"],
        fields: &[
            required("name", NAME),
            field("timezone", TEXT, "\"UTC\""),
            field("globus_path", TEXT, "\"\""),
            field("hostname", TEXT, "\"\""),
            field("data_url", TEXT, "null"),
            field("repository_type", Rule::Slug { of: "data-repository-type", by: "name" }, "null"),
            field("globus_endpoint_id", TEXT, "null"),
            field("globus_is_personal", Rule::Bool, "null"),
            field("json", Rule::Json, "null"),
        ],
    },
    Kind {
        endpoint: "projects",
        model: "Project",
        label: "project",
        slug: "name",
        by_name: false,
        list: LIST,
        detail: Some(DETAIL),
        filters: &[],
        fields: &[
            required("name", NAME),
            field("description", TEXT, "\"\""),
            field("users", Rule::Slugs { of: "users", by: "username" }, "[]"),
        ],
    },
    Kind {
        endpoint: "procedures",
        model: "ProcedureType",
        label: "procedure type",
        slug: "name",
        by_name: false,
        list: LIST,
        detail: None,
        filters: &[],
        fields: &[
            field("id", Rule::Id, "null"),
            required("name", NAME),
            field("json", Rule::Json, "null"),
            field("description", Rule::Text { max: usize::MAX, blank: true }, "\"\""),
        ],
    },
    Kind {
        endpoint: "locations",
        model: "LabLocation",
        label: "lab location",
        slug: "name",
        by_name: false,
        list: READ,
        detail: Some("GET, PUT, PATCH, HEAD, OPTIONS"),
        filters: &[],
        fields: &[
            required("name", NAME),
            field("lab", Rule::Slug { of: "labs", by: "name" }, "null"),
            field("json", Rule::Json, "null"),
        ],
    },
    Kind {
        endpoint: "water-type",
        model: "WaterType",
        label: "water type",
        slug: "name",
        by_name: false,
        list: LIST,
        // Alyx answers the whole list at a water type's own address.
        detail: None,
        filters: &[],
        fields: &[field("url", Rule::Url, "null"), field("json", Rule::Json, "null"), required("name", NAME)],
    },
    Kind {
        endpoint: "tags",
        model: "Tag",
        label: "tag",
        slug: "name",
        by_name: true,
        list: LIST,
        detail: Some(DETAIL),
        filters: &["name"],
        fields: &[
            field("id", Rule::Id, "null"),
            field("json", Rule::Json, "null"),
            field("name", Rule::Name { blank: true, words: None }, "\"\""),
            field("description", TEXT, "\"\""),
            field("protected", Rule::Bool, "false"),
            field("public", Rule::Bool, "false"),
            field("hash", Rule::Text { max: 64, blank: true }, "null"),
        ],
    },
    Kind {
        endpoint: "revisions",
        model: "Revision",
        label: "revision",
        slug: "name",
        by_name: true,
        list: LIST,
        detail: Some(DETAIL),
        filters: &["name"],
        fields: &[
            field("id", Rule::Id, "null"),
            field("json", Rule::Json, "null"),
            field(
                "name",
                Rule::Name {
                    blank: true,
                    words: Some((
                        revision_char,
                        "Revisions must only contain letters, numbers, hyphens, underscores and forward slashes.",
                    )),
                },
                "\"\"",
            ),
            field("description", TEXT, "\"\""),
            field("created_datetime", Rule::Created, "null"),
        ],
    },
    Kind {
        endpoint: "data-formats",
        model: "DataFormat",
        label: "data format",
        slug: "name",
        by_name: true,
        list: LIST,
        detail: Some(DETAIL),
        filters: &[],
        fields: &[
            field("id", Rule::Id, "null"),
            field("json", Rule::Json, "null"),
            required("name", NAME),
            field("description", TEXT, "\"\""),
            required("file_extension", NAME),
            field("matlab_loader_function", TEXT, "\"\""),
            field("python_loader_function", TEXT, "\"\""),
        ],
    },
    Kind {
        endpoint: "dataset-types",
        model: "DatasetType",
        label: "dataset type",
        slug: "name",
        by_name: true,
        list: LIST,
        detail: Some(DETAIL),
        filters: &[],
        fields: &[
            field("id", Rule::Id, "null"),
            required("name", NAME),
            field("created_by", Rule::Slug { of: "users", by: "username" }, "null"),
            field("description", TEXT, "\"\""),
            field("filename_pattern", Rule::Text { max: 255, blank: true }, "null"),
        ],
    },
];

/// The plain kind at an end point.
pub(super) fn kind(endpoint: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.endpoint == endpoint)
}
