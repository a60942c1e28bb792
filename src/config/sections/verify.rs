//! The section `verify`: how often registered files are verified, and when.

use std::time::Duration;

use jiff::civil::Time;

use crate::config::VerifyConfig;
use crate::config::document::VerifyDocument;
use crate::config::findings::{DAY, Findings};
use session_metadata::text::locate::{KeyPath, quoted};

impl Findings {
    /// The section `verify`.
    pub(crate) fn verify(&mut self, from: VerifyDocument) -> VerifyConfig {
        let every = self.time("verify.every", from.every, Duration::ZERO, [Duration::ZERO, 3650 * DAY]);
        let at = KeyPath::of("verify.window");
        let window = self.take(&at, from.window).map(|text| text.0);
        let parsed = window.as_deref().map(|text| window_of(text).ok_or(text));
        let window = match parsed {
            Some(Err(text)) => {
                self.refuse(at, format!("{} is not a time of the day (example: 22:00-06:00)", quoted(text)));
                None
            }
            other => other.and_then(Result::ok),
        };
        VerifyConfig { every: Some(every).filter(|every| !every.is_zero()), window }
    }
}

/// Two different times of the day.
fn window_of(text: &str) -> Option<(Time, Time)> {
    let (from, to) = text.split_once('-')?;
    let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
    Some((time(from)?, time(to)?)).filter(|(from, to)| from != to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_two_times_of_the_day() {
        let at = |hour, minute| jiff::civil::time(hour, minute, 0, 0);
        assert_eq!(window_of("22:00-06:30"), Some((at(22, 0), at(6, 30))));
        assert_eq!(window_of("9:00 - 12:00"), Some((at(9, 0), at(12, 0))));
        for text in ["", "22:00", "22:00-25:00", "22:00-22:00", "night"] {
            assert_eq!(window_of(text), None, "{text}");
        }
    }
}
