//! Weight and water: recorded only where the configuration says so, and once.

use alyx_registration::{Measured, MetadataOptions};
use serde_json::Value;

use super::{client, ibl, session};
use crate::common::{Alyx, Rig, with_files};

/// The posts to an endpoint since the last clear.
fn posts(alyx: &Alyx, path: &str) -> Vec<Value> {
    let requests = alyx.control().requests().into_iter();
    requests.filter(|r| r.method == "POST" && r.path == path).filter_map(|r| r.body).collect()
}

#[tokio::test]
async fn weight_and_water_are_recorded_once_and_by_default_not_at_all() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.flag();
    session.register(&client(&alyx, MetadataOptions::default()), &with_files()).await.unwrap();
    let all = || (posts(&alyx, "/weighings"), posts(&alyx, "/water-administrations"));
    assert_eq!(all(), (Vec::new(), Vec::new()));
    let measured = Measured { weight: true, water: true };
    let client = client(&alyx, MetadataOptions { measured, ..Default::default() });
    for _ in 0..2 {
        session.flag();
        session.register(&client, &with_files()).await.unwrap();
        let (weights, waters) = all();
        let ([weight], [water]) = (weights.as_slice(), waters.as_slice()) else { panic!("{:?}", all()) };
        assert_eq!((&weight["weight"], &weight["date_time"]), (&20.5.into(), &"2024-05-01T10:00:00".into()));
        assert_eq!((&water["water_administered"], &water["adlib"]), (&0.012.into(), &false.into()));
        assert_eq!(
            (&water["water_type"], &water["date_time"]),
            (&"Water".into(), &"2024-05-01T11:00:00".into())
        );
        assert_eq!(water["session"], alyx.the_session(&session).await.eid());
    }
}

#[tokio::test]
async fn a_weight_of_that_day_and_water_of_that_session_are_not_doubled() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.flag();
    let by_hand = client(&alyx, MetadataOptions::none());
    session.register(&by_hand, &with_files()).await.unwrap();
    let eid = alyx_registration::SessionReference::parse(alyx.the_session(&session).await.eid()).unwrap();
    let at = || Some("2024-05-01T09:00:00".into());
    let weight = alyx_registration::WeightOptions { date_time: at(), ..Default::default() };
    by_hand.register_weight("KS014", 21.0, &weight).await.unwrap();
    let water = alyx_registration::WaterOptions { date_time: at(), session: Some(eid), ..Default::default() };
    by_hand.register_water_administration("KS014", 0.5, &water).await.unwrap();
    alyx.control().clear_requests();
    session.flag();
    let measured = Measured { weight: true, water: true };
    let client = client(&alyx, MetadataOptions { measured, ..Default::default() });
    session.register(&client, &with_files()).await.unwrap();
    assert_eq!(posts(&alyx, "/weighings").len() + posts(&alyx, "/water-administrations").len(), 0);
}
