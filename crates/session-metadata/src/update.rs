//! An update: what is sent for a session that Alyx holds already. Nothing that Alyx holds is changed or erased.

use alf::SessionTime;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::layer::{Field, texts};
use crate::metadata::{SessionMetadata, is_empty};
use crate::source::Source;

/// What is sent for a session that Alyx holds already.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UpdatePlan {
    /// The fields to send; none if there is nothing to fill. `json` is whole, because Alyx replaces it whole.
    pub send: Map<String, Value>,
    /// Where Alyx holds another value, which is left as it is.
    pub differences: Vec<Difference>,
}

/// A field of which Alyx holds another value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The field, or `json.KEY`.
    pub field: String,
    /// The value on Alyx.
    pub on_alyx: Value,
    /// The value that is known here.
    pub known: Value,
    /// Where that one comes from.
    pub source: Source,
}

/// Plans the update of a session. Pure.
///
/// A field is filled only where Alyx's value is null, empty, `NOT_SET` (qc) or midnight (start). A list with members is
/// left as it is: a project that was removed must not come back. Only the users may be replaced, where they are
/// `own_login` alone on a session that this registrar created (`created_by_us`). Of `json`, missing keys are added.
pub fn plan_update(
    known: &SessionMetadata,
    existing: &Map<String, Value>,
    own_login: &str,
    created_by_us: bool,
) -> UpdatePlan {
    let mut plan = UpdatePlan::default();
    for (field, found) in &known.values.fields {
        let on_alyx = existing.get(field.name()).unwrap_or(&Value::Null);
        if is_empty(&found.value) || is_same(*field, on_alyx, &found.value) {
            continue;
        }
        let is_only_ours = *field == Field::Users
            && created_by_us
            && matches!(on_alyx, Value::Array(users) if users.iter().all(|user| user.as_str() == Some(own_login)));
        if is_unset(*field, on_alyx) || is_only_ours {
            plan.send.insert(field.name().to_owned(), found.value.clone());
        } else {
            plan.differ(field.name(), on_alyx, &found.value, &found.source);
        }
    }
    plan.withhold_contradictions(known, existing);
    plan.add_json(known, existing.get("json").unwrap_or(&Value::Null));
    plan
}

impl UpdatePlan {
    fn differ(&mut self, field: &str, on_alyx: &Value, known: &Value, source: &Source) {
        self.differences.push(Difference {
            field: field.to_owned(),
            on_alyx: on_alyx.clone(),
            known: known.clone(),
            source: source.clone(),
        });
    }

    /// Does not fill one of two fields that must agree if it contradicts what Alyx holds of the other.
    fn withhold_contradictions(&mut self, known: &SessionMetadata, existing: &Map<String, Value>) {
        let after =
            |plan: &Self, field: Field| plan.send.get(field.name()).or(existing.get(field.name())).cloned();
        let number = |value: Option<Value>| value.as_ref().and_then(Value::as_f64);
        let time = |value: Option<Value>| value.as_ref().and_then(as_time);
        let trials = (number(after(self, Field::NTrials)), number(after(self, Field::NCorrectTrials)));
        let times = (time(after(self, Field::StartTime)), time(after(self, Field::EndTime)));
        let mut withheld = Vec::new();
        if matches!(trials, (Some(all), Some(correct)) if correct > all) {
            withheld.extend([Field::NTrials, Field::NCorrectTrials]);
        }
        if matches!(times, (Some(start), Some(end)) if end < start) {
            withheld.extend([Field::StartTime, Field::EndTime]);
        }
        for field in withheld {
            if self.send.remove(field.name()).is_some()
                && let Some(found) = known.values.fields.get(&field)
            {
                let on_alyx = existing.get(field.name()).unwrap_or(&Value::Null);
                self.differ(field.name(), on_alyx, &found.value, &found.source);
            }
        }
    }

    fn add_json(&mut self, known: &SessionMetadata, on_alyx: &Value) {
        let mut whole = match on_alyx {
            Value::Object(members) => members.clone(),
            Value::Null => Map::new(),
            // A plain text: there is no place in it for a key.
            other => {
                if let Some(found) = known.values.json.values().next() {
                    self.differ("json", other, &known.json().into(), &found.source);
                }
                return;
            }
        };
        let before = whole.len();
        for (key, found) in &known.values.json {
            match whole.get(key) {
                None => drop(whole.insert(key.clone(), found.value.clone())),
                Some(present) if *present == found.value => {}
                Some(present) => self.differ(&format!("json.{key}"), present, &found.value, &found.source),
            }
        }
        if whole.len() > before {
            self.send.insert("json".to_owned(), whole.into());
        }
    }
}

fn as_time(value: &Value) -> Option<SessionTime> {
    SessionTime::parse(value.as_str()?, &TimeZone::UTC).ok()
}

/// Whether Alyx's value may be filled.
fn is_unset(field: Field, on_alyx: &Value) -> bool {
    match field {
        Field::Qc if on_alyx.as_str() == Some("NOT_SET") => true,
        Field::StartTime => {
            is_empty(on_alyx)
                || as_time(on_alyx).is_some_and(|time| time == SessionTime::midnight(time.date()))
        }
        _ => is_empty(on_alyx),
    }
}

/// Whether Alyx holds the same, perhaps written in another way.
fn is_same(field: Field, on_alyx: &Value, known: &Value) -> bool {
    match field {
        Field::StartTime | Field::EndTime => {
            let times = (as_time(on_alyx), as_time(known));
            times.0.is_some() && times.0 == times.1
        }
        // Alyx adds the user who registers files.
        Field::Users => {
            let there = texts(on_alyx);
            !there.is_empty() && texts(known).iter().all(|user| there.contains(user))
        }
        Field::Projects | Field::Procedures => {
            let sorted = |value: &Value| {
                let mut names: Vec<String> = texts(value).into_iter().map(str::to_owned).collect();
                names.sort();
                names
            };
            sorted(on_alyx) == sorted(known)
        }
        _ => on_alyx == known,
    }
}
