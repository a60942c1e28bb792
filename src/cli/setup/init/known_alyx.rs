//! What Alyx knows of a rig's answers.

use std::time::Duration;

use alyx_client::text::some_of;
use alyx_client::{Client, ClientOptions, Credentials, Endpoint, Error, LabRecord, RepositoryRecord};
use alyx_registration::{RegistrationClient, RegistrationOptions};

/// The user waits for each answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// An Alyx that has accepted the login.
pub(super) struct KnownAlyx {
    client: RegistrationClient,
    pub(super) labs: Vec<LabRecord>,
    pub(super) repositories: Vec<RepositoryRecord>,
}

fn client(url: &str, credentials: Credentials) -> Result<Client, Error> {
    let mut options = ClientOptions::new(url, credentials);
    options.retry.attempts = 1;
    options.timeouts.request = REQUEST_TIMEOUT;
    options.login_advice = "check the name of the user, and the password";
    Client::new(options)
}

/// Checks without a login that an Alyx answers at an address.
pub(super) async fn probe(url: &str) -> Result<(), Error> {
    let anonymous = Credentials::Absent { username: None, reason: String::new() };
    client(url, anonymous)?.probe().await.map(drop)
}

impl KnownAlyx {
    /// Logs in, and asks for labs and repositories.
    pub(super) async fn log_in(url: &str, credentials: Credentials) -> Result<Self, Error> {
        let client = RegistrationClient::new(client(url, credentials)?, RegistrationOptions::default());
        client.alyx().ping().await?;
        let (labs, repositories) = (client.alyx().labs().await?, client.alyx().repositories().await?);
        Ok(Self { client, labs, repositories })
    }

    /// All names of a kind.
    pub(super) async fn names(&self, endpoint: Endpoint) -> Result<Vec<String>, Error> {
        self.client.alyx().member_names(endpoint).await
    }

    /// Why a name cannot be used: Alyx does not have it. With the names that it was probably meant to be, or those that
    /// there are.
    pub(super) async fn why_unknown(&self, endpoint: Endpoint, name: &str) -> Result<Option<String>, Error> {
        if self.client.alyx().find_member(endpoint, name).await?.is_some() {
            return Ok(None);
        }
        let quoted = |names: &[String]| some_of(names.iter().map(|name| format!("{name:?}")), ", ");
        let hint = match self.client.near_names(endpoint, name).await.as_slice() {
            [] => match self.names(endpoint).await?.as_slice() {
                [] => "it has none".to_owned(),
                all => format!("it has {}", quoted(all)),
            },
            near => format!("did you mean {}?", quoted(near)),
        };
        Ok(Some(format!("Alyx does not know the {} {name:?}; {hint}", endpoint.member())))
    }

    /// The records of labs; `None` if not one of them is known.
    pub(super) fn labs_named(&self, names: &[String]) -> Vec<Option<&LabRecord>> {
        let known: Vec<_> = self.labs.iter().filter(|lab| names.contains(&lab.name)).map(Some).collect();
        if known.is_empty() { vec![None] } else { known }
    }
}
