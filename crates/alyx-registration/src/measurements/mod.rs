//! Measurements: water and weight of a subject, each recorded once.
//!
//! Alyx has no uniqueness constraint here: a repeated post is a second drink. So if the answer to a post is lost, its
//! record is searched for before it is posted again, and it is posted again only once.

pub(crate) mod of_session;
pub(crate) mod planned;
mod plausible;
mod post_once;
mod water;
mod weight;

use jiff::ToSpan;
use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::measurements::plausible::Earlier;
use alf::timestamp::DateInput;
use alyx_client::Endpoint;

/// No volume in millilitres, and no weight in grams, of any animal is outside these.
const POSSIBLE: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// A measured value to four significant figures, as Python's `float(f'{value:.4g}')`. Pure.
///
/// # Errors
/// [`Error::Invalid`] for zero, a negative number, NaN or infinity, and for what is no measurement.
pub(crate) fn four_figures(what: &str, value: f64) -> Result<f64, Error> {
    if !(value.is_finite() && value > 0.0) {
        return Err(Error::Invalid(format!("{what} must be greater than zero, not {value}")));
    }
    if !POSSIBLE.contains(&value) {
        return Err(Error::Invalid(format!("{what} of {value:e} is not possible; correct the number")));
    }
    let written = format!("{value:.3e}");
    written.parse().map_err(|_| Error::Internal(format!("{written} is not a number")))
}

/// The records up to a day, as Alyx writes their times: one in the future, made by a wrong clock, is not the latest.
fn until(records: Earlier<'_>, last: Date) -> Earlier<'_> {
    let end = last.saturating_add(1.day()).to_string();
    records.into_iter().filter(|(time, _)| *time < end.as_str()).collect()
}

impl RegistrationClient {
    /// The last day on which something may have been measured: another computer's today may be tomorrow here.
    fn last_day(&self) -> Result<Date, Error> {
        Ok(self.session_time(DateInput::Now)?.date().saturating_add(1.day()))
    }

    /// Refuses a time that a wrong clock or a typing error made. `earliest`: instead of the day in the options.
    fn check_measured_on(&self, day: Date, earliest: Option<Date>) -> Result<(), Error> {
        let (last, earliest) = (self.last_day()?, earliest.unwrap_or(self.options().earliest));
        if day > last {
            return Err(Error::Invalid(format!(
                "a measurement of {day} is in the future; correct the time, or this computer's clock"
            )));
        }
        if day < earliest {
            return Err(Error::Invalid(format!(
                "a measurement of {day} is before {earliest}, the earliest that is expected (session.earliest); correct \
                 the time"
            )));
        }
        Ok(())
    }

    /// Checks subject and user, and returns the name of the user.
    async fn subject_and_user(&self, subject: &str, user: Option<&str>) -> Result<String, Error> {
        let user = match user {
            Some(user) => user.to_owned(),
            None => self.alyx().username().await?.to_owned(),
        };
        self.check_names(vec![(Endpoint::Subjects, subject.to_owned()), (Endpoint::Users, user.clone())])
            .await?;
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_four_significant_figures() {
        for (value, kept) in
            [(35.10000000235, 35.1), (0.000123456, 0.0001235), (12345.6, 12350.0), (1.0, 1.0)]
        {
            assert_eq!(four_figures("x", value).unwrap(), kept);
        }
    }

    #[test]
    fn a_record_in_the_future_is_not_the_latest() {
        let records =
            vec![("2024-05-01T10:00:00", 1.0), ("2024-05-02T23:59:59", 2.0), ("2094-05-01T10:00:00", 3.0)];
        let kept: Vec<f64> =
            until(records, jiff::civil::date(2024, 5, 2)).into_iter().map(|(_, v)| v).collect();
        assert_eq!(kept, [1.0, 2.0]);
    }

    #[test]
    fn only_positive_numbers_are_accepted() {
        for value in
            [0.0, -0.0, -3.0, f64::NAN, f64::INFINITY, 5e-324, f64::MIN_POSITIVE, 1e-7, 1e10, f64::MAX]
        {
            assert!(four_figures("x", value).is_err(), "{value}");
        }
    }
}
