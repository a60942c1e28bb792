//! The CA file: certificate authorities that are trusted in addition to those of the system.

use std::io::Read;
use std::path::Path;

use reqwest::Certificate;

use crate::regular_file::open_regular;

/// The largest file that is read, in bytes: four times the bundle of all public authorities.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// Reads the certificates of a PEM file. Blocks.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub(crate) fn load_ca_file(file: &Path) -> Result<Vec<Certificate>, String> {
    let place = format!("alyx.ca_file {}", file.display());
    let unreadable = |error| {
        format!("{place} cannot be read ({error}); correct the path, or let the user who runs this read it")
    };
    let mut bytes = Vec::new();
    let Some((open, _)) = open_regular(file).map_err(unreadable)? else {
        return Err(unreadable(std::io::Error::other("not a regular file")));
    };
    open.take(MAX_FILE_SIZE).read_to_end(&mut bytes).map_err(unreadable)?;
    let found = Certificate::from_pem_bundle(&bytes).unwrap_or_default();
    if found.is_empty() {
        return Err(format!(
            "{place} contains no certificate; write the authority's PEM certificate to it, starting with -----BEGIN CERTIFICATE-----"
        ));
    }
    Ok(found)
}

/// What to do about a certificate that is not trusted; `None` for any other failure.
pub(crate) fn certificate_advice(failure: &str) -> Option<&'static str> {
    if failure.contains("UnknownIssuer") {
        Some("if the lab signs its certificates itself, name the file of its authority in alyx.ca_file")
    } else if failure.contains("CaUsedAsEndEntity") {
        Some("the server uses the certificate of an authority as its own; have a server certificate issued")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused_with_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(load_ca_file(&file).unwrap_err().contains("cannot be read"));
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(load_ca_file(&pipe).unwrap_err().contains("cannot be read (not a regular file)"));
        for content in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            std::fs::write(&file, content).unwrap();
            assert!(load_ca_file(&file).unwrap_err().contains("contains no certificate"), "{content}");
        }
    }
}
