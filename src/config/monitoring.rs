//! What others see of the daemon: the status page.

use super::HttpConfig;
use super::document::HttpDocument;
use super::locate::KeyPath;
use super::validate::Findings;

impl Findings {
    pub(super) fn http(&mut self, from: HttpDocument) -> HttpConfig {
        let listen = self.take(&KeyPath::of("http.listen"), from.listen);
        if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
            self.warnings.push(format!(
                "http.listen is {address}: whoever reaches this computer can read the names of sessions, folders and \
                 files; listen on 127.0.0.1, behind a web server that asks for a password"
            ));
        }
        HttpConfig { listen }
    }
}
