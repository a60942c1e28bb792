//! The secret is read as it is, or refused without being shown.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use alyx_client::Credentials;
use alyx_registrar::config::{CredentialSource, LoadedCredentials};
use secrecy::ExposeSecret;

struct Secret {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn secret_file(content: impl AsRef<[u8]>, mode: u32) -> Secret {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    Secret { _folder: folder, path }
}

fn load(
    source: &CredentialSource,
    username: Option<&str>,
    variables: &[(&str, &str)],
) -> Result<LoadedCredentials, String> {
    let variables: HashMap<&str, OsString> =
        variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    source.load_with(username, |name| variables.get(name).cloned()).map_err(|err| err.to_string())
}

fn password(loaded: &LoadedCredentials) -> &str {
    match &loaded.credentials {
        Credentials::Password { password, .. } => password.expose_secret(),
        _ => panic!("no password"),
    }
}

fn token(loaded: &LoadedCredentials) -> &str {
    match &loaded.credentials {
        Credentials::Token { token, .. } => token.expose_secret(),
        _ => panic!("no token"),
    }
}

#[test]
fn one_line_break_at_the_end_is_not_part_of_the_secret() {
    for (content, secret) in [("a b", "a b"), ("pw\n", "pw"), ("pw\r\n", "pw"), ("pé\n", "pé")] {
        let file = secret_file(content, 0o600);
        let loaded = load(&CredentialSource::PasswordFile(file.path.clone()), Some("ana"), &[]).unwrap();
        assert_eq!(password(&loaded), secret);
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }
}

#[test]
fn a_blank_at_either_end_belongs_to_the_secret_and_is_warned_of() {
    for secret in ["hunter2 ", " hunter2", "hunter2\t"] {
        let file = secret_file(format!("{secret}\n"), 0o600);
        let loaded = load(&CredentialSource::PasswordFile(file.path.clone()), Some("ana"), &[]).unwrap();
        assert_eq!(password(&loaded), secret);
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        assert!(warning.contains("a blank") && warning.contains(file.path.to_str().unwrap()), "{warning}");
        assert!(!warning.contains("hunter2"), "{warning}");
    }
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_secret() {
    let file = secret_file("\u{feff}hunter2\r\n", 0o600);
    let loaded = load(&CredentialSource::PasswordFile(file.path.clone()), Some("ana"), &[]).unwrap();
    assert_eq!((password(&loaded), loaded.warnings.len()), ("hunter2", 0));
    let file = secret_file("\u{feff}\n", 0o600);
    let message = load(&CredentialSource::PasswordFile(file.path.clone()), Some("ana"), &[]).unwrap_err();
    assert!(message.contains("is empty"), "{message}");
}

#[test]
fn an_empty_systemd_credential_is_reported_with_its_key() {
    // As the unit creates it if there is no password file.
    let file = secret_file("\n", 0o440);
    let folder = file.path.parent().unwrap().to_str().unwrap();
    let source = CredentialSource::PasswordFile(file.path.clone());
    let message = load(&source, Some("ana"), &[("CREDENTIALS_DIRECTORY", folder)]).unwrap_err();
    assert!(message.starts_with("alyx.password_file ") && message.contains("empty"), "{message}");
}

#[test]
fn a_secret_that_others_may_read_is_accepted_with_a_warning() {
    for mode in [0o640, 0o604, 0o620] {
        let file = secret_file("hunter2", mode);
        let loaded = load(&CredentialSource::TokenFile(file.path.clone()), None, &[]).unwrap();
        assert_eq!(token(&loaded), "hunter2");
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        assert!(warning.contains(&format!("mode {mode:o}")) && warning.contains("chmod 600"), "{warning}");
        assert!(!warning.contains("hunter2"));
    }
}

#[test]
fn a_systemd_credential_is_private_although_its_mode_shows_group_rights() {
    let file = secret_file("pw", 0o440);
    let folder = file.path.parent().unwrap().to_str().unwrap();
    let source = CredentialSource::PasswordFile(file.path.clone());
    let loaded = load(&source, Some("ana"), &[("CREDENTIALS_DIRECTORY", folder)]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_file_without_a_usable_secret_is_refused_without_showing_it() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"  \r\n", "is empty"),
        (b"hunter2\nhunter2\n", "more than one line"),
        (b"hunter2\xff", "not UTF-8"),
        (&[b'h'; 70_000], "larger than 64 KiB"),
    ];
    for (content, expected) in cases {
        let file = secret_file(content, 0o600);
        let message = load(&CredentialSource::PasswordFile(file.path.clone()), Some("ana"), &[]).unwrap_err();
        assert!(message.contains(expected) && message.contains("secret"), "{message}");
        assert!(!message.contains("hunter2") && !message.contains("hhh"), "{message}");
    }
}

#[test]
fn a_missing_file_a_folder_or_a_device_is_reported_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("password");
    let message = load(&CredentialSource::PasswordFile(missing.clone()), Some("ana"), &[]).unwrap_err();
    assert!(message.contains("does not exist") && message.contains(missing.to_str().unwrap()), "{message}");
    for odd in [folder.path(), Path::new("/dev/zero")] {
        let message = load(&CredentialSource::TokenFile(odd.to_owned()), None, &[]).unwrap_err();
        assert!(message.contains("is not a regular file"), "{message}");
    }
}

#[test]
fn a_possible_secret_in_place_of_a_name_is_not_shown() {
    let message = load(&CredentialSource::PasswordEnv("hunter2".into()), Some("ana"), &[]).unwrap_err();
    assert_eq!(message, "alyx.password_env names a variable that is not set");
    let source = CredentialSource::PasswordFile("/run/credentials/x/hunter2".into());
    let message = load(&source, Some("ana"), &[("CREDENTIALS_DIRECTORY", "/run/credentials/x")]).unwrap_err();
    assert!(message.contains("LoadCredential=") && !message.contains("hunter2"), "{message}");
}

#[test]
fn without_a_key_the_only_usual_variable_that_is_set_is_used() {
    let source = CredentialSource::DefaultEnv;
    assert_eq!(password(&load(&source, Some("ana"), &[("ALYX_PASSWORD", "pw")]).unwrap()), "pw");
    assert_eq!(token(&load(&source, None, &[("ALYX_TOKEN", "t"), ("ALYX_PASSWORD", "")]).unwrap()), "t");
    let message = load(&source, Some("ana"), &[("ALYX_TOKEN", "t"), ("ALYX_PASSWORD", "pw")]).unwrap_err();
    assert!(message.starts_with("both ALYX_TOKEN and ALYX_PASSWORD are set"), "{message}");
    let message = load(&source, Some("ana"), &[]).unwrap_err();
    assert!(message.contains("alyx.password_file"), "{message}");
    let message = load(&source, None, &[("ALYX_PASSWORD", "pw")]).unwrap_err();
    assert!(message.contains("alyx.username"), "{message}");
}

#[test]
fn a_variable_that_is_not_text_is_refused() {
    let source = CredentialSource::TokenEnv("T".into());
    let message = source.load_with(None, |_| Some(OsString::from_vec(vec![0xff]))).unwrap_err().to_string();
    assert_eq!(message, "the variable T is not UTF-8 text");
}

#[test]
fn printing_the_credentials_for_debugging_does_not_print_the_secret() {
    let loaded = load(&CredentialSource::DefaultEnv, Some("ana"), &[("ALYX_PASSWORD", "hunter2")]).unwrap();
    let printed = format!("{loaded:?}");
    assert!(printed.contains("ana") && !printed.contains("hunter2"), "{printed}");
}
