//! A service for the tests of its parts: it speaks to nobody and watches nothing.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::daemon::options::Options;
use crate::daemon::run_loop::Service;
use alyx_client::{Client, ClientOptions, Credentials};
use alyx_registration::{RegistrationClient, RegistrationOptions};

impl Service {
    pub(crate) fn example() -> Self {
        let login = Credentials::Token { username: None, token: "t".into() };
        let alyx = Client::new(ClientOptions::new("http://127.0.0.1:9", login)).unwrap();
        let client = RegistrationClient::new(alyx, RegistrationOptions::default());
        Self::new(client, Options::default(), None, mpsc::unbounded_channel().0, CancellationToken::new())
    }
}
