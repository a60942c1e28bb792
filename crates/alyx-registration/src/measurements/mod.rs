//! Measurements: water and weight of a subject, each recorded once.
//!
//! Alyx has no uniqueness constraint here: a repeated post is a second drink. So if the answer to a post is lost, its
//! record is searched for before it is posted again, and it is posted again only once.

pub(crate) mod planned;
mod plausible;
mod post_once;
mod water;
mod weight;

use crate::client::RegistrationClient;
use crate::error::Error;
use alyx_client::Endpoint;

/// A measured value to four significant figures, as Python's `float(f'{value:.4g}')`. Pure.
///
/// # Errors
/// [`Error::Invalid`] for zero, a negative number, NaN or infinity.
fn four_figures(what: &str, value: f64) -> Result<f64, Error> {
    if !(value.is_finite() && value > 0.0) {
        return Err(Error::Invalid(format!("{what} must be greater than zero, not {value}")));
    }
    let written = format!("{value:.3e}");
    written.parse().map_err(|_| Error::Internal(format!("{written} is not a number")))
}

impl RegistrationClient {
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
    fn only_positive_numbers_are_accepted() {
        for value in [0.0, -0.0, -3.0, f64::NAN, f64::INFINITY] {
            assert!(four_figures("x", value).is_err(), "{value}");
        }
    }
}
