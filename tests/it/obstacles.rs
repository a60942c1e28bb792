//! Obstacles, which keep flags from being seen, appear in `status` as well as in the log.

use crate::{common, program};
use std::fs;
use std::path::{Path, PathBuf};

use common::{Alyx, Rig, until};
use program::{Configuration, Program, output, program};

fn configuration(alyx: &Alyx, rig: &Rig, roots: Vec<PathBuf>) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = "watch:\n  settle: 50 ms\n  empty_grace: 0 s\n  poll_interval: 100 ms\n\
                datasets: {repository: flatiron_cortexlab, exists: false}\n"
        .to_owned();
    Configuration { roots, url, user, password, more }.write(&rig.beside("etc"))
}

/// The output of `status`, and its exit code.
fn status(config: &Path) -> (Option<i32>, String) {
    let said = output(program().arg("status").arg("--config").arg(config));
    (said.status.code(), String::from_utf8(said.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_a_missing_disk_and_a_misplaced_flag_until_they_are_fixed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let missing = rig.beside("disk2");
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let misplaced = session.folder.parent().unwrap().join("create_me.flag");
    fs::write(&misplaced, "").unwrap();
    let config = configuration(&alyx, &rig, vec![rig.root(), missing.clone()]);

    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    daemon.wait_for("is missing");
    let assert_shown = |wanted: &str| {
        until(wanted, || {
            let (code, said) = status(&config);
            code == Some(1) && said.contains(wanted)
        });
    };
    assert_shown("problems on disk (2)");
    assert_shown("has no effect here");
    assert_shown("disk2\" is missing");

    // An empty folder in place of the disk.
    fs::create_dir(&missing).unwrap();
    assert_shown("is an empty folder");
    fs::create_dir_all(missing.join("cortexlab/Subjects")).unwrap();
    assert_shown("problems on disk (1)");
    fs::rename(&misplaced, session.folder.join("create_me.flag")).unwrap();
    until("it is registered", || !session.is_flagged());
    until("all is well", || status(&config).0 == Some(0));
    daemon.stop();

    // Also without the daemon, whose absence takes precedence.
    fs::write(&misplaced, "").unwrap();
    fs::remove_dir_all(&missing).unwrap();
    let (code, said) = status(&config);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("problems on disk (2)"), "{said}");
}
