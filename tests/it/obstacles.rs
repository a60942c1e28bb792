//! What keeps flags from being seen is told to whoever asks how it goes, and not only in the log.

use crate::{common, program};
use std::fs;
use std::path::{Path, PathBuf};

use common::{Alyx, Rig, until};
use program::{Configuration, Program, output, program};

fn configuration(alyx: &Alyx, rig: &Rig, roots: Vec<PathBuf>) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = "watch:\n  settle: 50 ms\n  poll_interval: 100 ms\n".to_owned();
    Configuration { roots, url, user, password, more }.write(&rig.beside("etc"))
}

/// What `status` says, and its exit code.
fn status(config: &Path) -> (Option<i32>, String) {
    let said = output(program().arg("status").arg("--config").arg(config));
    (said.status.code(), String::from_utf8(said.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_missing_and_a_flag_in_the_wrong_folder_are_told_by_status_until_they_are_mended() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let missing = rig.beside("disk2");
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let misplaced = session.folder.parent().unwrap().join("create_me.flag");
    fs::write(&misplaced, "").unwrap();
    let config = configuration(&alyx, &rig, vec![rig.root(), missing.clone()]);

    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    daemon.wait_for("is missing");
    let told = |wanted: &str| {
        until(wanted, || {
            let (code, said) = status(&config);
            code == Some(1) && said.contains(wanted)
        });
    };
    told("in the way on disk (2)");
    told("does nothing where it is");
    told("disk2\" is missing");

    // In place of the disk there is a folder with nothing in it.
    fs::create_dir(&missing).unwrap();
    told("is an empty folder");
    fs::create_dir_all(missing.join("cortexlab/Subjects")).unwrap();
    told("in the way on disk (1)");
    fs::rename(&misplaced, session.folder.join("create_me.flag")).unwrap();
    until("it is registered", || !session.is_flagged());
    until("all is well", || status(&config).0 == Some(0));
    daemon.stop();

    // Without the daemon as well; that it does not run is the worse news.
    fs::write(&misplaced, "").unwrap();
    fs::remove_dir_all(&missing).unwrap();
    let (code, said) = status(&config);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("in the way on disk (2)"), "{said}");
}
