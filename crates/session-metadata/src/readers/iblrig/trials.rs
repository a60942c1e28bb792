//! The trials of a task, `_iblrig_taskData.raw*.jsonable`: one JSON object a line.
//!
//! The file is read line by line: memory holds one line, whatever the number of trials.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::files::{SessionFiles, too_large, unreadable};
use crate::problem::{Problem, ProblemKind};
use crate::text;
use crate::text::not_a_number::without_nan;

/// A trial has a few thousand bytes, with a long training history 200,000.
pub const MAX_LINE: u64 = 8 * 1024 * 1024;
/// All trials together.
pub const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Above this, in seconds, the clock of a trial is corrupt.
const TOO_LONG: f64 = 6.0 * 3600.0;

/// What is known of all trials.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trials {
    /// The number of lines.
    pub lines: u64,
    first: Option<f64>,
    last: Option<f64>,
    last_correct: Number,
    correct: Option<f64>,
    rewards: Option<f64>,
    delivered: Number,
    /// Seconds from the start of the Bpod to the end of the last trial whose clock is plausible.
    pub seconds: Option<f64>,
}

impl Trials {
    /// The number of trials; `None` if the numbering does not agree with the number of lines.
    pub fn count(&self) -> Option<u32> {
        let from_zero = if self.first? == 0.0 { 1.0 } else { 0.0 };
        whole(self.last? + from_zero).filter(|n| u64::from(*n) == self.lines)
    }

    /// The number that the last trial gives itself.
    pub fn last_number(&self) -> Option<f64> {
        self.last
    }

    /// The number of correct trials.
    pub fn correct(&self) -> Option<u32> {
        match self.last_correct {
            Number::Is(number) => whole(number),
            Number::Absent => whole(self.correct?),
            Number::Broken => None,
        }
    }

    /// The water that the subject got, in microlitres.
    ///
    /// # Errors
    /// What is written in its place.
    pub fn water(&self) -> Result<Option<f64>, String> {
        let known = match self.delivered {
            Number::Is(number) => Some(number),
            Number::Absent => self.rewards,
            Number::Broken => None,
        };
        known.map(Some).ok_or_else(|| "what is not a number".to_owned())
    }

    /// Whether the water is known although lines are missing.
    pub fn counts_water(&self) -> bool {
        self.delivered != Number::Absent
    }
}

/// A number of trials as Alyx stores it.
pub(super) fn whole(number: f64) -> Option<u32> {
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
}

/// A number or a truth value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Number {
    /// No value, or null.
    #[default]
    Absent,
    /// Anything else, such as `NaN`: it must not be taken for a value that was never written.
    Broken,
    Is(f64),
}

impl Number {
    fn value(self) -> Option<f64> {
        match self {
            Self::Is(number) => Some(number),
            Self::Absent | Self::Broken => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Trial {
    trial_num: Number,
    ntrials_correct: Number,
    trial_correct: Number,
    reward_amount: Number,
    water_delivered: Number,
    behavior_data: Option<Behavior>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Behavior {
    #[serde(rename = "Trial end timestamp")]
    end: Number,
    #[serde(rename = "Bpod start timestamp")]
    start: Number,
}

/// Reads all trials.
///
/// # Errors
/// The first line that is no trial, with its number.
pub fn load(files: &dyn SessionFiles, path: &str) -> Result<Trials, Problem> {
    let file = files.open(path).map_err(|error| unreadable(path, &error))?;
    parse(file, path)
}

/// Reads all trials of an open file.
///
/// # Errors
/// The first line that is no trial, with its number.
pub fn parse(file: impl Read, path: &str) -> Result<Trials, Problem> {
    let mut file = BufReader::with_capacity(64 * 1024, file);
    let mut trials = Trials { correct: Some(0.0), rewards: Some(0.0), ..Trials::default() };
    let (mut line, mut number, mut bytes) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = file.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|error| unreadable(path, &error))? as u64;
        number += 1;
        bytes += read;
        let at_line = |problem: Problem| problem.on_line(Some(number));
        match read {
            0 => return Ok(trials),
            _ if read > MAX_LINE => return Err(at_line(too_large(path, MAX_LINE))),
            _ if bytes > MAX_BYTES => return Err(at_line(too_large(path, MAX_BYTES))),
            _ => {}
        }
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        if is_blank {
            continue;
        }
        let text = text::decode(&line).map_err(|fault| at_line(Problem::syntax(path, fault)))?;
        let trial: Trial = serde_json::from_str(&without_nan(text)).map_err(|error| {
            let why = error.to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            let message =
                format!("this line is not a trial as JSON ({why}); restore the file, or remove the line");
            at_line(Problem::new(ProblemKind::Syntax, path, "", message))
        })?;
        trials.add(&trial);
    }
}

impl Trials {
    fn add(&mut self, trial: &Trial) {
        self.lines += 1;
        if self.lines == 1 {
            self.first = trial.trial_num.value();
        }
        self.last = trial.trial_num.value();
        self.last_correct = trial.ntrials_correct;
        self.correct = self.correct.zip(trial.trial_correct.value()).map(|(sum, one)| sum + one);
        let reward = match trial.reward_amount {
            Number::Absent => Some(0.0),
            number => number.value(),
        };
        self.rewards = self.rewards.zip(reward).map(|(sum, one)| sum + one);
        self.delivered = trial.water_delivered;
        let clock =
            trial.behavior_data.as_ref().and_then(|data| Some(data.end.value()? - data.start.value()?));
        if let Some(seconds) = clock.filter(|seconds| (0.0..TOO_LONG).contains(seconds)) {
            self.seconds = Some(seconds);
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl<'de> Visitor<'de> for AnyNumber {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(if number.is_finite() { Number::Is(number) } else { Number::Broken })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number::Is(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(Number::Is(number as f64))
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Number, E> {
        Ok(Number::Is(f64::from(u8::from(yes))))
    }

    fn visit_str<E>(self, _: &str) -> Result<Number, E> {
        Ok(Number::Broken)
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Number, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number::Broken)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut keys: A) -> Result<Number, A::Error> {
        while keys.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number::Broken)
    }
}
