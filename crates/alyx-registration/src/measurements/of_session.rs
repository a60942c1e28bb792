//! Which waters of a session Alyx holds already. Pure.

use crate::measurements::{four_figures, plausible};
use alyx_client::WaterRecord;

/// Water that a session should have on Alyx.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WantedWater {
    /// In millilitres.
    pub(crate) millilitres: f64,
    /// The water type.
    pub(crate) kind: String,
    /// When it was given, in ISO 8601.
    pub(crate) at: String,
    /// Whether its file gives the time. The end of the session, which stands for it otherwise, may become known later.
    pub(crate) is_timed: bool,
}

/// What a session should have, compared with what Alyx holds for it, record by record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// The indices of the wanted ones that Alyx lacks.
    pub(crate) missing: Vec<usize>,
    /// The indices of the records that are none of the wanted ones.
    pub(crate) foreign: Vec<usize>,
}

/// Pairs each water with at most one record of the same volume and type: first at the same time, then within two minutes,
/// then at any time where none was given.
pub(crate) fn compare(wanted: &[WantedWater], held: &[&WaterRecord]) -> Comparison {
    let rounded = |volume: f64| four_figures("a water volume", volume).unwrap_or(volume);
    let is_like = |water: &WantedWater, record: &WaterRecord| {
        record.water_administered.map(rounded) == Some(rounded(water.millilitres))
            && record.water_type.as_deref() == Some(water.kind.as_str())
    };
    let rules: [fn(&WantedWater, &str) -> bool; 3] = [
        |water, at| plausible::is_same_time(at, &water.at),
        |water, at| plausible::is_within_minutes(at, &water.at),
        |water, _| !water.is_timed,
    ];
    // In the order of time: the nearest ones come together.
    let in_order = |times: Vec<&str>| {
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|index| times.get(*index).copied().unwrap_or_default().to_owned());
        order
    };
    let mut missing = in_order(wanted.iter().map(|water| water.at.as_str()).collect());
    let mut foreign = in_order(held.iter().map(|record| record.date_time.as_str()).collect());
    for rule in rules {
        missing.retain(|index| {
            let Some(water) = wanted.get(*index) else { return false };
            let found = foreign.iter().position(|index| {
                held.get(*index)
                    .is_some_and(|record| is_like(water, record) && rule(water, &record.date_time))
            });
            found.map(|at| foreign.remove(at)).is_none()
        });
    }
    missing.sort_unstable();
    foreign.sort_unstable();
    Comparison { missing, foreign }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(wanted: &[(f64, &str, bool)], held: &[(f64, &str)]) -> (Vec<usize>, Vec<usize>) {
        let wanted: Vec<WantedWater> = wanted
            .iter()
            .map(|(millilitres, at, is_timed)| WantedWater {
                millilitres: *millilitres,
                kind: "Water".into(),
                at: format!("2024-05-01T{at}"),
                is_timed: *is_timed,
            })
            .collect();
        let held: Vec<WaterRecord> = held
            .iter()
            .map(|(volume, at)| {
                let record = serde_json::json!({"subject": "x", "date_time": format!("2024-05-01T{at}"),
                    "water_administered": volume, "water_type": "Water"});
                serde_json::from_value(record).unwrap()
            })
            .collect();
        let Comparison { missing, foreign } = compare(&wanted, &held.iter().collect::<Vec<_>>());
        (missing, foreign)
    }

    #[test]
    fn each_record_counts_for_one_water() {
        let noon = (0.25, "12:00:00", true);
        assert_eq!(compared(&[noon, noon, noon], &[(0.25, "12:00:00")]), (vec![1, 2], vec![]));
        assert_eq!(compared(&[noon], &[(0.25, "12:00:00"), (0.25, "12:00:00")]), (vec![], vec![1]));
        assert_eq!(compared(&[noon], &[(0.26, "12:00:00")]), (vec![0], vec![0]));
        assert_eq!(compared(&[(0.250_000_01, "12:00:00", true)], &[(0.25, "12:00:00.0")]), (vec![], vec![]));
    }

    #[test]
    fn a_time_counts_within_two_minutes_and_not_at_all_where_none_was_given() {
        let held = [(0.25, "12:01:30")];
        assert_eq!(compared(&[(0.25, "12:00:00", true)], &held), (vec![], vec![]));
        assert_eq!(compared(&[(0.25, "11:00:00", true)], &held), (vec![0], vec![0]));
        assert_eq!(compared(&[(0.25, "11:00:00", false)], &held), (vec![], vec![]));
        // The one at the same time is taken first.
        let two = [(0.25, "12:00:30", true), (0.25, "12:01:30", true)];
        assert_eq!(compared(&two, &held), (vec![0], vec![]));
        let any = [(0.25, "11:00:00", false), (0.25, "12:01:00", true)];
        assert_eq!(compared(&any, &held), (vec![0], vec![]));
    }
}
