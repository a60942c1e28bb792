//! A service for the tests of its parts: it speaks to nobody and watches nothing.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::alyx::{Client, ClientOptions, Credentials};
use crate::daemon::Options;
use crate::registration::{RegistrationClient, RegistrationOptions};

impl Service {
    pub(super) fn example() -> Self {
        let login = Credentials::Token { username: None, token: "t".into() };
        let alyx = Client::new(ClientOptions::new("http://127.0.0.1:9", login)).unwrap();
        let client = RegistrationClient::new(alyx, RegistrationOptions::default());
        Self::new(client, Options::default(), None, mpsc::unbounded_channel().0, CancellationToken::new())
    }
}
