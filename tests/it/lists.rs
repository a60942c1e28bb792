//! Lists that Alyx returns page by page: they add up, and they end.

use crate::common;
use std::collections::HashSet;

use alyx_registration::{RegisterFilesOptions, SessionDetails};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig};
use serde_json::json;

/// Files of one session, so many that its datasets do not fit into one page.
const FILES: usize = 1100;

fn always(path: &str, body: String) -> FaultRule {
    let fault = Fault::Status { code: 200, body, content_type: "application/json".into(), retry_after: None };
    FaultRule { method: Some("GET".into()), path_prefix: path.into(), times: usize::MAX, fault }
}

#[tokio::test]
async fn datasets_whose_pages_overlap_are_all_found_once_and_registered_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    let folder = session.folder.join("alf");
    std::fs::create_dir_all(&folder).unwrap();
    let paths: Vec<_> = (0..FILES).map(|i| folder.join(format!("spikes.times.part{i:04}.npy"))).collect();
    paths.iter().for_each(|path| std::fs::write(path, "x").unwrap());
    let client = alyx.client();
    let created = client.create_session(&session.folder, &SessionDetails::default()).await.unwrap();
    assert!(alyx.control().shuffle_datasets());
    let options = RegisterFilesOptions::default();
    client.register_files(&paths, &options).await.expect("the read-back adds up");

    let found = client.alyx().datasets_of_session(created.eid()).await.unwrap();
    let ids: HashSet<&str> = found.iter().map(|record| record.id()).collect();
    assert_eq!((found.len(), ids.len()), (FILES, FILES));
    let again = client.register_files(&paths, &options).await.unwrap();
    assert_eq!(again.n_unchanged, FILES, "every record was compared");
    assert_eq!(alyx.control().datasets().len(), FILES);
}

#[tokio::test]
async fn a_list_that_does_not_add_up_or_end_is_one_clear_error() {
    let alyx = Alyx::sandbox().await;
    let client = alyx.client();
    let of = |name: &str| json!({"name": name});
    let next = "http://elsewhere/dataset-types?offset=1";
    let large = format!("[{}1]", "1,".repeat(5 << 20));
    for (page, expected) in [
        // It names itself; with offset=1 the answer is the same.
        (json!({"count": 9, "next": next, "results": [of("a")]}).to_string(), "the list does not end"),
        (json!({"count": 9, "next": next, "results": []}).to_string(), "the list does not end"),
        (
            json!({"count": 3, "next": null, "results": [of("a"), of("a")]}).to_string(),
            "the pages of its list do not add up: 1 different records",
        ),
        (json!({"detail": "x"}).to_string(), "no list"),
        (json!({"count": 1, "next": null, "results": [1]}).to_string(), "unexpected record: invalid type"),
        (large, "GET /dataset-types answers with more than 8 MB"),
    ] {
        alyx.control().clear_faults();
        alyx.control().clear_requests();
        alyx.control().add_fault(always("/dataset-types", page));
        let error = client.alyx().dataset_types().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(alyx.control().count_requests() <= 5, "{expected}");
    }
}

#[tokio::test]
async fn a_server_that_counts_too_many_datasets_does_not_cause_as_many_requests() {
    let alyx = Alyx::sandbox().await;
    for count in [300_001_u64, u64::MAX] {
        alyx.control().clear_faults();
        alyx.control().clear_requests();
        alyx.control()
            .add_fault(always("/datasets", json!({"count": count, "next": null, "results": []}).to_string()));
        let error = alyx.client().alyx().datasets_of_session("x").await.unwrap_err().to_string();
        assert!(error.contains("do not add up"), "{error}");
        assert!(alyx.control().count_requests() <= 3, "{}", alyx.control().count_requests());
    }
}

#[tokio::test]
async fn numbers_instead_of_members_are_refused_at_the_first() {
    let alyx = Alyx::sandbox().await;
    alyx.control().add_fault(always("/labs", format!("[{}1]", "1,".repeat(3 << 20))));
    let error = alyx.client().alyx().member_names(alyx_client::Endpoint::Labs).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("unexpected record: invalid type: integer"), "{error}");
}
