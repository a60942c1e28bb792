//! The reader `iblrig`: experiment description, task settings, trials and narrative of the IBL's behaviour rigs.

pub mod description;
pub mod settings;
pub mod trials;

use alf::SessionTime;

use crate::files::{SessionFiles, named, read_text};
use crate::layer::{Field, Water, Weight};
use crate::problem::{Missing, Problem, ProblemKind};
use crate::readers::iblrig::settings::Settings;
use crate::readers::iblrig::trials::{Trials, whole};
use crate::readers::spikeglx::later;
use crate::readers::{Reading, Subject};
use crate::source::{Source, Sourced};
use crate::text::locate::quoted;

/// `narrative.txt` is read up to this.
pub const MAX_NARRATIVE: u64 = 256 * 1024;

/// The collection of sessions without a description.
const COLLECTION: &str = "raw_behavior_data";

/// A task: its settings, and its trials where there is a file of them.
struct Task {
    settings: Settings,
    trials: Option<(Trials, String)>,
    start: Option<SessionTime>,
    end: Option<(SessionTime, Source)>,
}

/// Whether a path is that of a file that is read, by its name.
pub(crate) fn is_read(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is = |begin: &str, end: &str| name.starts_with(begin) && name.ends_with(end);
    is("_iblrig_taskSettings.raw", ".json")
        || is("_iblrig_taskData.raw", ".jsonable")
        || folder.is_empty() && (name == "narrative.txt" || is("_ibl_experiment.description", ".yaml"))
}

/// Reads the files of a behaviour rig.
pub fn read(subject: Subject<'_>) -> Reading {
    let mut reading = Reading::default();
    match narrative(subject.files) {
        Ok(Some(text)) => reading.layer.set(Field::Narrative, text, Source::rig("narrative.txt", "")),
        Ok(None) => {}
        Err(problem) => reading.problems.push(problem),
    }
    let described = match description::load(subject.files) {
        Ok(described) => described,
        Err(problem) => {
            reading.problems.push(problem);
            return reading;
        }
    };
    let mut collections = vec![COLLECTION.to_owned()];
    if let Some(description) = &described {
        let source = |key: &str| Source::rig(&description.path, key);
        for (field, names) in
            [(Field::Projects, &description.projects), (Field::Procedures, &description.procedures)]
        {
            if !names.is_empty() {
                reading.layer.set(field, names.clone(), source(field.name()));
            }
        }
        if description.tasks.is_empty() {
            reading.layer.passive = Some(source("tasks"));
            for field in [Field::NTrials, Field::NCorrectTrials] {
                reading.layer.set(field, 0, source("no task"));
            }
        }
        collections.clone_from(&description.tasks);
    }
    let mut tasks = Vec::new();
    for collection in &collections {
        match task(subject, collection, tasks.is_empty(), &mut reading) {
            Ok(Some(task)) => tasks.push(task),
            Ok(None) if described.is_some() => {
                reading.notes.push(format!("{collection} holds no task settings: its task is not described"));
            }
            Ok(None) => {}
            Err(problem) => reading.problems.push(problem),
        }
    }
    if !reading.problems.is_empty() || tasks.is_empty() {
        return reading;
    }
    if let Err(problem) = fields(&tasks, described.is_some(), &mut reading) {
        reading.problems.push(problem);
    }
    for settings in tasks.iter().map(|task| &task.settings) {
        if let Some(written) = &settings.no_version {
            reading.notes.push(format!(
                "{}: IBLRIG_VERSION {written} is no version; the settings are read by the keys that they have",
                settings.path
            ));
        }
    }
    trial_counts(&tasks, &mut reading);
    measurements(&tasks, &mut reading);
    reading
}

fn narrative(files: &dyn SessionFiles) -> Result<Option<String>, Problem> {
    let Some(path) = named(files, "", "narrative.txt", "").find(|path| *path == "narrative.txt") else {
        return Ok(None);
    };
    let text = read_text(files, path, MAX_NARRATIVE)?;
    let text = text.trim().replace("\r\n", "\n");
    if let Some(line) = text.lines().position(|line| line.contains('\0')) {
        let message = "a NUL character, which Alyx cannot store; remove it".to_owned();
        return Err(Problem::new(ProblemKind::Value, path, "", message).on_line(Some(line + 1)));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The task in a collection; `None` without settings.
fn task(
    subject: Subject<'_>,
    collection: &str,
    is_first: bool,
    reading: &mut Reading,
) -> Result<Option<Task>, Problem> {
    let Some(settings) = settings::load(subject.files, collection)? else { return Ok(None) };
    let key = settings.start_key();
    let start = settings.time(key, subject.zone)?;
    compare(&settings, subject, start, is_first, reading)?;
    let trials = match named(subject.files, collection, "_iblrig_taskData.raw", ".jsonable").next() {
        Some(path) => Some((trials::load(subject.files, path)?, path.to_owned())),
        None => None,
    };
    let set = settings.time("SESSION_END_TIME", subject.zone)?;
    let end = match (set, &trials) {
        (Some(end), _) => Some((end, Source::rig(&settings.path, "SESSION_END_TIME"))),
        (None, Some((trials, path))) => start.zip(trials.seconds).and_then(|(start, seconds)| {
            Some((later(start, seconds)?, Source::rig(path, format!("{key} + Trial end timestamp"))))
        }),
        (None, None) => None,
    };
    Ok(Some(Task { settings, trials, start, end }))
}

/// Compares what the rig was told with the folder.
fn compare(
    settings: &Settings,
    subject: Subject<'_>,
    start: Option<SessionTime>,
    is_first: bool,
    reading: &mut Reading,
) -> Result<(), Problem> {
    let session = subject.session;
    let mut differs = |kind, key: &str, message: Option<String>| {
        reading.problems.extend(message.map(|message| settings.problem(kind, key, message)));
    };
    if let Some(name) = settings.text("SUBJECT_NAME")?
        && name != session.subject()
    {
        let message = subject.contradiction("subject", &quoted(name), &quoted(session.subject()));
        differs(ProblemKind::Subject, "SUBJECT_NAME", message);
    }
    if let Some(number) = settings.session_number()
        && number != u64::from(session.number())
    {
        let folder = session.number().to_string();
        let message = subject.contradiction("number", &number.to_string(), &folder);
        differs(ProblemKind::Number, "SESSION_NUMBER", message);
    }
    let (day, key) = match start {
        Some(start) => (start.date(), settings.start_key()),
        None => match settings.day() {
            Some(day) => (day, "SESSION_DATE"),
            None => return Ok(()),
        },
    };
    // A later task may begin past midnight.
    differs(ProblemKind::Date, key, subject.other_day(day, !is_first));
    Ok(())
}

/// The fields that the settings give.
fn fields(tasks: &[Task], is_described: bool, reading: &mut Reading) -> Result<(), Problem> {
    let ([first, ..], [.., last]) = (tasks, tasks) else { return Ok(()) };
    let layer = &mut reading.layer;
    let path = first.settings.path.as_str();
    let mut users: Vec<String> = Vec::new();
    let mut source = Source::rig(path, "PYBPOD_CREATOR");
    for task in tasks {
        if let Some((name, key)) = task.settings.user()?
            && !users.iter().any(|user| user == name)
        {
            if users.is_empty() {
                source = Source::rig(&task.settings.path, key);
            }
            users.push(name.to_owned());
        }
    }
    if users.is_empty() {
        layer.from_subject.insert(Field::Users, Source::rig(path, "no user"));
    } else {
        layer.set(Field::Users, users, source);
    }
    if let Some((name, key)) = first.settings.location()? {
        layer.set(Field::Location, name, Source::rig(path, key));
    }
    let protocol = |task: &Task| {
        Ok(task.settings.text("PYBPOD_PROTOCOL")?.map(|name| format!("{name}{}", task.settings.version)))
    };
    let protocols: Option<Vec<String>> = tasks.iter().map(protocol).collect::<Result<_, Problem>>()?;
    let joined = protocols.map(|protocols| protocols.join("/"));
    layer.set_some(Field::TaskProtocol, joined, Source::rig(path, "PYBPOD_PROTOCOL + IBLRIG_VERSION"));
    layer.set(Field::Kind, "Experiment", Source::rig(path, "a task"));
    let start = first.start.map(|time| time.to_iso());
    layer.set_some(Field::StartTime, start, Source::rig(path, first.settings.start_key()));
    if let Some((end, source)) = &last.end {
        layer.set(Field::EndTime, end.to_iso(), source.clone());
    }
    if !is_described {
        // Since version 8 the settings repeat what the description says.
        for (field, key) in [(Field::Projects, "PROJECTS"), (Field::Procedures, "PROCEDURES")] {
            let names =
                Some(first.settings.texts(key)).filter(|names| first.settings.is_v8() && !names.is_empty());
            layer.set_some(field, names, Source::rig(path, key));
        }
        layer.from_subject.insert(Field::Projects, Source::rig(path, "no experiment description"));
    }
    let mut json = |key: &str, value: serde_json::Value| {
        layer.json.insert(key.to_owned(), Sourced::new(value, Source::rig(path, key)));
    };
    json("IS_MOCK", first.settings.any("IS_MOCK").cloned().unwrap_or(false.into()));
    json("IBLRIG_VERSION", first.settings.version.clone().into());
    for key in ["PROJECT_EXTRACTION_VERSION", "TASK_VERSION"] {
        if let Some(value) = first.settings.any(key) {
            json(key, value.clone());
        }
    }
    for key in ["POOP_COUNT", "SESSION_DELAY_START"] {
        let mut counts = Vec::new();
        for task in tasks {
            match task.settings.quantity(key) {
                Ok(count) => counts.extend(count),
                Err(written) => {
                    reading.notes.push(format!("{}: {key} {written} is no number", task.settings.path));
                }
            }
        }
        let sum: f64 = counts.iter().sum();
        // Above this, a float is no longer exact.
        if sum.abs() >= 2_f64.powi(53) {
            let of = tasks.iter().find(|task| task.settings.number(key).is_some()).unwrap_or(first);
            let message = format!("{sum:e} is no count; correct it");
            return Err(of.settings.problem(ProblemKind::Value, key, message));
        }
        if !counts.is_empty() {
            // As Python's int(): towards zero.
            json(key, (sum as i64).into());
        }
    }
    Ok(())
}

/// The numbers of trials, and whether the session was cut off.
fn trial_counts(tasks: &[Task], reading: &mut Reading) {
    let Some(last) = tasks.last() else { return };
    let with_trials = || {
        tasks.iter().filter_map(|task| {
            let (trials, path) = task.trials.as_ref().filter(|(trials, _)| trials.lines > 0)?;
            Some((task, trials, path))
        })
    };
    let protocol =
        |task: &Task| task.settings.text("PYBPOD_PROTOCOL").ok().flatten().unwrap_or_default().to_owned();
    let Some((_, _, path)) = with_trials().next() else {
        if last.end.is_none() && !protocol(last).to_lowercase().contains("passive") {
            reading.missing.push(Missing {
                what: last.settings.path.clone(),
                why: "the task was cut off: it has no SESSION_END_TIME and no trials".to_owned(),
            });
        }
        from_settings(tasks, reading);
        return;
    };
    let (mut n_trials, mut n_correct) = (Some(0_u32), Some(0_u32));
    for (task, trials, path) in with_trials() {
        let count = trials.count();
        if count.is_none() {
            let last = trials.last_number().map_or("none".to_owned(), |number| number.to_string());
            reading.notes.push(format!(
                "{path} has {} trials, but its last number is {last}: the numbers of trials are not known",
                trials.lines
            ));
        }
        let is_habituation = protocol(task).contains("habituationChoiceWorld");
        let correct = if is_habituation { Some(0) } else { trials.correct() };
        if count.is_some() && correct.is_none() {
            reading
                .notes
                .push(format!("{path} does not say which trials are correct: their number is not known"));
        }
        n_trials = n_trials.zip(count).and_then(|(sum, n)| sum.checked_add(n));
        // What is left of a file does not tell how many were correct.
        n_correct =
            n_correct.zip(correct.filter(|_| count.is_some())).and_then(|(sum, n)| sum.checked_add(n));
    }
    reading.layer.set_some(Field::NTrials, n_trials, Source::rig(path, "trial_num"));
    reading.layer.set_some(Field::NCorrectTrials, n_correct, Source::rig(path, "correct trials"));
}

/// The numbers that settings of version 8 hold, where the trials themselves are not there.
fn from_settings(tasks: &[Task], reading: &mut Reading) {
    let ended = |task: &&Task| task.settings.is_v8() && task.end.is_some() && task.trials.is_none();
    let Some(first) = tasks.iter().find(ended) else { return };
    for (field, key) in [(Field::NTrials, "NTRIALS"), (Field::NCorrectTrials, "NTRIALS_CORRECT")] {
        let numbers: Option<Vec<u32>> =
            tasks.iter().filter(ended).map(|task| whole(task.settings.number(key)?)).collect();
        let sum = numbers.and_then(|numbers| numbers.into_iter().try_fold(0_u32, u32::checked_add));
        reading.layer.set_some(field, sum, Source::rig(&first.settings.path, key));
    }
}

/// Weight and water.
fn measurements(tasks: &[Task], reading: &mut Reading) {
    let mut water = Vec::new();
    let session_end = tasks.last().and_then(|task| task.end.as_ref()).map(|(end, _)| *end);
    for task in tasks {
        let settings = &task.settings;
        if reading.layer.weight.is_none() {
            match above_zero(settings.quantity("SUBJECT_WEIGHT")) {
                Ok(Some(grams)) => {
                    let source = Source::rig(&settings.path, "SUBJECT_WEIGHT");
                    reading.layer.weight = Some(Sourced::new(Weight { grams, at: task.start }, source));
                }
                Ok(None) => {}
                Err(written) => {
                    reading.notes.push(format!("{}: SUBJECT_WEIGHT {written} is no weight", settings.path));
                }
            }
        }
        let given = match &task.trials {
            Some((trials, path)) if trials.lines > 0 => {
                if trials.count().is_none() && !trials.counts_water() {
                    reading
                        .notes
                        .push(format!("{path} is not complete: the water of its trials is not known"));
                    continue;
                }
                Some((trials.water(), Source::rig(path, "water of the trials")))
            }
            None if settings.is_v8() => {
                let key = "TOTAL_WATER_DELIVERED";
                Some((settings.quantity(key), Source::rig(&settings.path, key)))
            }
            Some(_) | None => None,
        };
        let Some((written, source)) = given else { continue };
        let microlitres = match written {
            // The subject got none.
            Ok(Some(0.0)) => None,
            other => above_zero(other).unwrap_or_else(|written| {
                reading.notes.push(format!("{source}: {written} is no water; it is not known"));
                None
            }),
        };
        if let Some(microlitres) = microlitres {
            let kind = settings.text("REWARD_TYPE").ok().flatten().unwrap_or("Water").to_owned();
            let at = task.end.as_ref().map(|(end, _)| *end).or(session_end);
            let gift = Water { millilitres: microlitres / 1000.0, kind, at, adlib: false };
            water.push(Sourced::new(gift, source));
        }
    }
    if !water.is_empty() {
        reading.layer.water = Some(water);
    }
}

/// A quantity that is measured; zero and less is none.
fn above_zero(quantity: Result<Option<f64>, String>) -> Result<Option<f64>, String> {
    match quantity? {
        Some(number) if number.is_nan() || number <= 0.0 => Err(number.to_string()),
        other => Ok(other),
    }
}
