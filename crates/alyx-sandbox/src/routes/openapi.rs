//! `GET /api/schema`: the addresses, methods, parameters and fields that the sandbox really has, as OpenAPI.

use serde_json::{Map, Value, json};

use crate::kinds::KINDS;
use crate::message::{Answer, Request};

/// The end points with rules of their own: path, methods, parameters of the list, fields.
const OWN: &[(&str, &str, &str, &str)] = &[
    ("/auth-token", "post", "", "username password"),
    (
        "/subjects",
        "get post",
        "alive id lab nickname project responsible_user sex",
        "nickname responsible_user birth_date death_date sex projects lab description json",
    ),
    (
        "/subjects/{nickname}",
        "get put patch delete",
        "",
        "nickname responsible_user birth_date death_date sex projects lab description json",
    ),
    (
        "/sessions",
        "get post",
        "dataset_qc_lte dataset_types datasets date_range end_time id lab location n_correct_trials n_trials name \
         narrative nickname number parent_session performance_gte performance_lte procedures project projects qc \
         start_time subject tag task_protocol type users",
        SESSION,
    ),
    ("/sessions/{id}", "get put patch delete", "", SESSION),
    (
        "/datasets",
        "get post",
        "collection created_by created_date created_date_gte created_date_lte dataset_type date default_dataset \
         exists experiment_number file_size hash id lab name object_id protected public qc revision session subject \
         tag version",
        DATASET,
    ),
    ("/datasets/{id}", "get put patch delete", "", DATASET),
    ("/files", "get", "data_repository dataset exists globus_is_personal id relative_path", ""),
    ("/files/{id}", "get patch delete", "", "exists"),
    ("/register-file", "post", "", ""),
    ("/check-protected", "get", "", ""),
    ("/weighings", "get post", "date_time id nickname subject", "subject date_time weight user"),
    ("/weighings/{id}", "get delete", "", ""),
    ("/water-administrations", "get post", "date_time id nickname subject", WATER),
    ("/water-administrations/{id}", "get put patch delete", "", WATER),
    ("/insertions", "get", "", ""),
    ("/notes", "get", "", ""),
    ("/data-notices", "get", "", ""),
    ("/downloads", "get", "", ""),
    ("/surgeries", "get", "", ""),
    ("/fields-of-view", "get", "", ""),
    ("/trajectories", "get", "", ""),
    ("/tasks", "get", "", ""),
    ("/water-restriction", "get", "", ""),
    ("/water-restricted-subjects", "get", "", ""),
];
const SESSION: &str = "subject users location procedures lab projects type task_protocol number start_time end_time \
                       narrative parent_session n_correct_trials n_trials extended_qc qc json";
const DATASET: &str = "name created_by dataset_type data_format collection session file_size hash version revision \
                       default_dataset tags qc json";
const WATER: &str = "subject date_time water_administered water_type user session adlib";

/// The schema. Clients learn from it which end points, actions and parameters there are.
pub(super) fn schema(_request: &Request) -> Answer {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for (path, methods, parameters, fields) in OWN {
        describe(&mut paths, &mut schemas, path, methods, parameters, fields);
    }
    for kind in &KINDS {
        let fields: Vec<&str> = kind.fields.iter().map(|f| f.name).collect();
        let (path, fields) = (format!("/{}", kind.endpoint), fields.join(" "));
        let methods = |allow: &str| allow.to_lowercase().replace(',', "");
        describe(&mut paths, &mut schemas, &path, &methods(kind.list), &kind.filters.join(" "), &fields);
        if let Some(allow) = kind.detail {
            let path = format!("{path}/{{{}}}", kind.slug);
            describe(&mut paths, &mut schemas, &path, &methods(allow), "", &fields);
        }
    }
    paths.sort_keys();
    let info = json!({"title": "", "version": "0.0.0"});
    let components = json!({"schemas": schemas});
    let document = json!({"openapi": "3.0.3", "info": info, "paths": paths, "components": components});
    let mut answer = Answer::json(200, document);
    if let crate::message::Content::Json(document) = answer.content {
        let kind = "application/vnd.oai.openapi+json".to_owned();
        answer.content = crate::message::Content::Text { kind, text: document.to_string() };
    }
    answer
}

fn describe(
    paths: &mut Map<String, Value>,
    schemas: &mut Map<String, Value>,
    path: &str,
    methods: &str,
    parameters: &str,
    fields: &str,
) {
    let name: String =
        path.split(['/', '{', '}', '-']).filter(|p| !p.is_empty()).collect::<Vec<_>>().join("_");
    if !fields.is_empty() {
        let properties: Map<String, Value> =
            fields.split_whitespace().map(|f| (f.to_owned(), json!({}))).collect();
        schemas.insert(name.clone(), json!({"type": "object", "properties": properties}));
    }
    let in_path = path.split_once('{').map(|(_, rest)| rest.trim_end_matches('}'));
    let mut operations = Map::new();
    for method in methods.split_whitespace().filter(|m| !matches!(*m, "head" | "options")) {
        let mut known: Vec<Value> = in_path
            .iter()
            .map(|p| json!({"in": "path", "name": p, "required": true, "schema": {"type": "string"}}))
            .collect();
        if method == "get" && in_path.is_none() {
            let paging = ["django", "limit", "offset"];
            known.extend(
                parameters
                    .split_whitespace()
                    .chain(paging)
                    .map(|p| json!({"in": "query", "name": p, "schema": {"type": "string"}})),
            );
        }
        let mut operation =
            json!({"parameters": known, "description": "", "responses": {"200": {"description": ""}}});
        if matches!(method, "post" | "put" | "patch") && !fields.is_empty() {
            let schema = json!({"$ref": format!("#/components/schemas/{name}")});
            operation["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
        }
        operations.insert(method.to_owned(), operation);
    }
    paths.insert(path.to_owned(), Value::Object(operations));
}
