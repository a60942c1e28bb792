//! The fields of the plain records that a client can write.

use crate::rules::fields::{Field, Rule, TEXT, field, is_uuid, required};

const NAME: Field = required("name", Rule::Text { max: 255, blank: false });
const JSON: Field = field("json", Rule::Json, "null");
const SHORT: Rule = Rule::Text { max: 255, blank: true };

pub(super) const LAB: &[Field] = &[
    required(
        "name",
        Rule::Checked {
            max: 255,
            is_valid: |name| name.chars().all(|c| c.is_alphanumeric() || c == '_'),
            message: "Lab name must only contain letters, numbers, and underscores.",
        },
    ),
    field("institution", SHORT, "\"\""),
    field("address", SHORT, "\"\""),
    field("timezone", Rule::Text { max: 64, blank: true }, "\"UTC\""),
    field("repositories", Rule::Slugs { of: "data-repository", by: "name" }, "[]"),
    field("reference_weight_pct", Rule::PositiveFloat, "0.0"),
    field("zscore_weight_pct", Rule::PositiveFloat, "0.0"),
    JSON,
];

pub(super) const REPOSITORY_TYPE: &[Field] = &[JSON, NAME];

pub(super) const REPOSITORY: &[Field] = &[
    NAME,
    field("timezone", Rule::Text { max: 64, blank: true }, "\"UTC\""),
    field("globus_path", Rule::Text { max: 1000, blank: true }, "\"\""),
    field(
        "hostname",
        Rule::Checked {
            max: 200,
            is_valid: |name| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
            message: "Invalid hostname",
        },
        "\"\"",
    ),
    field("data_url", Rule::Checked { max: 200, is_valid: is_url, message: "Enter a valid URL." }, "null"),
    field("repository_type", Rule::Slug { of: "data-repository-type", by: "name" }, "null"),
    field(
        "globus_endpoint_id",
        Rule::Checked { max: 36, is_valid: is_uuid, message: "Must be a valid UUID." },
        "null",
    ),
    field("globus_is_personal", Rule::Bool, "null"),
    JSON,
];

pub(super) const PROJECT: &[Field] = &[
    NAME,
    field("description", TEXT, "\"\""),
    field("users", Rule::Slugs { of: "users", by: "username" }, "[]"),
];

pub(super) const LOCATION: &[Field] = &[NAME, required("lab", Rule::Slug { of: "labs", by: "name" }), JSON];

pub(super) const TAG: &[Field] = &[
    JSON,
    field("name", SHORT, "\"\""),
    field("description", TEXT, "\"\""),
    field("protected", Rule::Bool, "false"),
    field("public", Rule::Bool, "false"),
    field("hash", Rule::Text { max: 64, blank: true }, "null"),
];

pub(super) const REVISION: &[Field] = &[
    JSON,
    field(
        "name",
        Rule::Checked {
            max: 255,
            is_valid: |name| name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/')),
            message: "Revisions must only contain letters, numbers, hyphens, underscores and forward slashes.",
        },
        "\"\"",
    ),
    field("description", TEXT, "\"\""),
    field("created_datetime", Rule::Time, "null"),
];

pub(super) const DATA_FORMAT: &[Field] = &[
    JSON,
    NAME,
    field("description", SHORT, "\"\""),
    required(
        "file_extension",
        Rule::Checked {
            max: 255,
            is_valid: |text| {
                text.strip_prefix('.').is_some_and(|rest| !rest.is_empty() && !rest.contains('.'))
            },
            message: "Invalid file extension, should start with a dot",
        },
    ),
    field("matlab_loader_function", SHORT, "\"\""),
    field("python_loader_function", SHORT, "\"\""),
];

pub(super) const DATASET_TYPE: &[Field] = &[
    NAME,
    field("created_by", Rule::Slug { of: "users", by: "username" }, "null"),
    field("description", TEXT, "\"\""),
    field("filename_pattern", SHORT, "null"),
];

fn is_url(text: &str) -> bool {
    let rest =
        ["http://", "https://", "ftp://", "ftps://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#', ':']).next()).unwrap_or_default();
    // Django demands a dot in the name of a host, except of localhost.
    let is_host = host.contains('.') || host == "localhost" || text.contains("//[");
    is_host && !text.contains(char::is_whitespace)
}
