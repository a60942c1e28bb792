//! What must not appear anywhere: the password and the tokens of the sandbox. All output of the programs under test,
//! and all files that they leave beside a rig, are searched for them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The password of the sandbox's user.
pub const PASSWORD: &str = "TapetesBloc18";
/// The length of a sandbox token in hexadecimal digits; nothing else in the tests has this form.
const TOKEN_DIGITS: usize = 40;
/// Larger files are data.
const LARGEST: u64 = 16 << 20;

/// The kind of secret that the bytes contain.
fn find(bytes: &[u8]) -> Option<&'static str> {
    let is_token = |run: &[u8]| run.len() == TOKEN_DIGITS;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()) {
        Some("the password")
    } else if bytes.split(|byte| !is_digit(byte)).any(is_token) {
        Some("a token")
    } else {
        None
    }
}

/// Checks the output of a program.
#[track_caller]
pub fn none_in(said: impl AsRef<[u8]>, who: &str) {
    let said = said.as_ref();
    if let Some(secret) = find(said).filter(|_| !std::thread::panicking()) {
        panic!("{secret} is in the output of {who}:\n{}", String::from_utf8_lossy(said));
    }
}

/// Checks every file below a folder, except those that are meant to hold a secret.
#[track_caller]
pub fn none_below(folder: &Path) {
    for entry in walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok) {
        // A file that vanishes in the meantime is not left behind.
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() || metadata.len() > LARGEST {
            continue;
        }
        let name = entry.file_name().to_string_lossy();
        let kept_token = name.starts_with("token-") || name.starts_with(".token-");
        if kept_token && !std::thread::panicking() {
            assert_eq!(metadata.permissions().mode() & 0o077, 0, "others can read {:?}", entry.path());
        }
        let of_one = entry.path().components().any(|part| part.as_os_str() == ".one");
        if kept_token || of_one || name.ends_with("password") {
            continue;
        }
        let Ok(content) = std::fs::read(entry.path()) else { continue };
        if let Some(secret) = find(&content).filter(|_| !std::thread::panicking()) {
            panic!("{secret} is in {:?}", entry.path());
        }
    }
}

#[test]
fn a_secret_is_found_anywhere_in_a_text() {
    let token = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(find(format!("login with {PASSWORD}!").as_bytes()), Some("the password"));
    assert_eq!(find(format!("{{\"token\":\"{token}\"}}").as_bytes()), Some("a token"));
    assert_eq!(find(format!("{token}0 {} \u{0}\u{1}", &token[1..]).as_bytes()), None);
}
