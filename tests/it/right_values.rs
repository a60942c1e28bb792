//! Wrong values are refused before they reach Alyx.

use crate::{common, verbs};
use alyx_registration::{Error, SessionReference, WaterOptions};
use common::{Alyx, Rig};
use verbs::{verb, word};

#[tokio::test(flavor = "multi_thread")]
async fn water_of_a_session_is_of_its_subject_and_day() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    let folder = word(&session.folder);
    verb(&alyx, &rig, &["create-session", folder]).ends(0);
    let eid = alyx.the_session(&session).await.eid().to_owned();
    let cases = [
        ("SWC_001", "2024-05-01T10:00:00", ["\"SWC_001\"", "\"KS014\""]),
        ("KS014", "2021-05-01T10:00:00", ["2021-05-01", "2024-05-01"]),
        ("KS014", "2024-05-02", ["2024-05-02", "2024-05-01"]),
    ];
    for (subject, time, both) in cases {
        for reference in [folder, &eid] {
            for dry in [&[][..], &["--dry-run"]] {
                let words = ["water", subject, "0.5", "--session", reference, "--date-time", time];
                let said = verb(&alyx, &rig, &[&words, dry].concat()).ends(1);
                said.complains(both[0]).complains(both[1]).complains(&eid);
            }
        }
        let session = Some(SessionReference::parse(&eid).unwrap());
        let options = WaterOptions { session, date_time: Some(time.into()), ..Default::default() };
        let error = alyx.client().register_water_administration(subject, 0.5, &options).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    // Without a time it is now, which is not the day of the session.
    verb(&alyx, &rig, &["water", "KS014", "0.5", "--session", folder]).ends(1).complains("2024-05-01");
    let nowhere = "00000000-0000-4000-8000-000000000000";
    verb(&alyx, &rig, &["water", "KS014", "0.5", "--session", nowhere, "--dry-run"])
        .ends(1)
        .complains("is not on Alyx; create it first");
    for subject in ["KS014", "SWC_001"] {
        assert!(alyx.alyx().waters_of(subject).await.unwrap().is_empty());
    }
    let words = ["water", "KS014", "0.5", "--session", folder, "--date-time", "2024-05-01T23:59"];
    verb(&alyx, &rig, &words).ends(0);
}
