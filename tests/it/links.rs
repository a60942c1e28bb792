//! Links in sessions: what labs use goes on working, and no link shows a file of others on Alyx.

use crate::{common, namespace, program};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use alyx_registration::flag::Removal;
use alyx_registration::{FlaggedOptions, OnRefused};
use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, MD5_OF_ABC, Rig, Session, with_files};
use namespace::{MOUNTS, is_inside, must, run_inside};
use program::{Configuration, output, program};

fn configured(alyx: &Alyx, rig: &Rig, root: PathBuf, more: &str) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    crate::program::stopped_cleanly(&rig.beside("etc/state"));
    Configuration { roots: vec![root], url, user, password, more: more.into() }.write(&rig.beside("etc"))
}

/// The exit code and the output of a command with this configuration.
async fn run(command: &'static str, config: &Path) -> (i32, String) {
    let config = config.to_owned();
    let run = move || output(program().arg(command).arg("--config").arg(config));
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

const SETTLED: &str = "watch:\n  settle: 0 s\n  empty_grace: 0 s\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_link_out_of_the_data_roots_keeps_the_flag_and_check_and_run_name_the_line_that_allows_it() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let disk = rig.beside("disk2");
    std::fs::create_dir_all(disk.join("deep")).unwrap();
    std::fs::write(disk.join("deep/x.npy"), "abc").unwrap();
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.clusters.npy", "a").flag();
    symlink(disk.join("deep/x.npy"), session.folder.join("alf/spikes.times.npy")).unwrap();
    let config = configured(&alyx, &rig, rig.root(), SETTLED);
    let line = format!("links.allow: [{}]", std::fs::canonicalize(&disk).unwrap().display());

    let (_, checked) = run("check", &config).await;
    let row = checked.lines().find(|line| line.starts_with("warning  links")).expect("a row of links");
    assert!(
        row.contains(&line) && row.contains("spikes.times.npy") && row.contains("1 dataset is a link"),
        "{row}"
    );
    let (code, said) = run("scan", &config).await;
    assert!(code != 0 && said.contains(&line) && said.contains("spikes.times.npy"), "{said}");
    assert!(session.is_flagged());
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy"]);

    let allowed = format!("{SETTLED}links:\n  allow: [{}]\n", disk.display());
    let config = configured(&alyx, &rig, rig.root(), &allowed);
    assert!(!run("check", &config).await.1.contains("links  "));
    let (code, said) = run("scan", &config).await;
    assert_eq!(code, 0, "{said}");
    assert!(!session.is_flagged());
    assert_eq!(alyx.datasets(&session).await[1].hash.as_deref(), Some(MD5_OF_ABC));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_labs_use_are_followed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    // The data root is a link; so are a lab, a subject and a session, to other disks.
    let root = rig.beside("linked-root");
    symlink(rig.root(), &root).unwrap();
    let far = |name: &str| {
        let folder = rig.beside("far").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let subjects = rig.root().join("cortexlab/Subjects");
    std::fs::create_dir_all(subjects.join("KS014/2024-05-01")).unwrap();
    symlink(far("mainenlab"), rig.root().join("mainenlab")).unwrap();
    symlink(far("subject"), subjects.join("KS015")).unwrap();
    symlink(far("session"), subjects.join("KS014/2024-05-01/002")).unwrap();
    let names = [
        "cortexlab/Subjects/KS014/2024-05-01/001",
        "cortexlab/Subjects/KS014/2024-05-01/002",
        "cortexlab/Subjects/KS015/2024-05-01/001",
        "mainenlab/Subjects/ZM_1085/2024-05-01/001",
    ];
    alyx.control().add_subject("KS015", "cortexlab");
    let sessions: Vec<Session> = names.into_iter().map(|name| rig.session_at(name)).collect();
    for session in &sessions {
        session.file("alf/spikes.times.npy", "abc").file("raw_data/x", "abc").flag();
        // An absolute link inside the session, and one to a git-annex object inside the root.
        symlink(session.folder.join("raw_data/x"), session.folder.join("alf/spikes.amps.npy")).unwrap();
    }
    let annex = rig.root().join(".git/annex/objects/Q7");
    std::fs::create_dir_all(&annex).unwrap();
    std::fs::write(annex.join("MD5E-s3--9001.npy"), "abc").unwrap();
    let object = "../../../../../../.git/annex/objects/Q7/MD5E-s3--9001.npy";
    symlink(object, sessions[0].folder.join("alf/spikes.depths.npy")).unwrap();
    let config = configured(&alyx, &rig, root, SETTLED);
    let (code, said) = run("scan", &config).await;
    assert_eq!(code, 0, "{said}");
    for (session, datasets) in sessions.iter().zip([3, 2, 2, 2]) {
        assert!(!session.is_flagged(), "{:?}", session.folder);
        let found = alyx.datasets(session).await;
        assert_eq!(found.len(), datasets, "{:?}", session.folder);
        assert!(found.iter().all(|dataset| dataset.hash.as_deref() == Some(MD5_OF_ABC)));
    }
}

#[tokio::test]
async fn a_link_that_is_swapped_while_its_session_runs_shows_no_other_file() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    std::fs::write(rig.beside("secret"), "a").unwrap();
    let session = rig.session("cortexlab", "KS014");
    session.file("archive/x", "abc").file("alf/spikes.clusters.npy", "abc").flag();
    let link = session.folder.join("alf/spikes.times.npy");
    symlink("../archive/x", &link).unwrap();
    let gate = Gate::default();
    let hold = FaultRule {
        method: None,
        path_prefix: "/sessions".into(),
        times: 1,
        fault: Fault::Hold(gate.clone()),
    };
    alyx.control().add_fault(hold);
    let swap = async {
        gate.reached().await;
        std::fs::remove_file(&link).unwrap();
        // Two folders above the lab, which is the data root of a library without a configured one.
        symlink(rig.beside("secret"), &link).unwrap();
        gate.open();
    };
    let (client, options) = (alyx.client(), with_files());
    let (result, ()) = tokio::join!(session.register(&client, &options), swap);
    // The folder has changed, so the session runs again, and the link is refused.
    assert!(matches!(result, Err(alyx_registration::Error::StillChanging { .. })), "{result:?}");
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy"]);
    let error = session.register(&client, &options).await.unwrap_err().to_string();
    assert!(error.contains("spikes.times.npy") && error.contains("out of the data roots"), "{error}");
    assert!(session.is_flagged());
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy"]);
}

#[test]
fn a_mount_inside_a_data_root_belongs_to_it() {
    let probe = "mount -t tmpfs none /mnt && umount /mnt";
    run_inside(&MOUNTS, probe, "links::inside_a_mount_in_a_data_root");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts: run by the test above, in a namespace of its own"]
async fn inside_a_mount_in_a_data_root() {
    if !is_inside() {
        return;
    }
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let archive = rig.root().join("archive");
    std::fs::create_dir_all(&archive).unwrap();
    let subject = rig.root().join("cortexlab/Subjects/KS014");
    std::fs::create_dir_all(&subject).unwrap();
    for folder in [&archive, &subject] {
        must("mount", &["-t", "tmpfs", "disk", folder.to_str().unwrap()]);
    }
    std::fs::write(archive.join("x"), "abc").unwrap();
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.clusters.npy", "abc").flag();
    symlink(archive.join("x"), session.folder.join("alf/spikes.times.npy")).unwrap();
    let config = configured(&alyx, &rig, rig.root(), SETTLED);
    let (code, said) = run("scan", &config).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy", "alf/spikes.times.npy"]);
}

/// Its removal with the flag would be a change of the session, which puts the flag back.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_the_flag_is_no_dataset_and_does_not_register_its_session_again_and_again() {
    for is_hard in [false, true] {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc").flag();
        let flag = session.folder.join("create_me.flag");
        let link = session.folder.join("alf/spikes.clusters.npy");
        if is_hard { std::fs::hard_link(&flag, link) } else { symlink(&flag, link) }.unwrap();
        let error = session.register(&alyx.client(), &with_files()).await.unwrap_err().to_string();
        assert!(error.contains("alf/spikes.clusters.npy") && error.contains("leads to the flag"), "{error}");
        assert!(session.is_flagged());
        assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    }
}

/// Its target goes with the flag, which is no change of the session.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_links_to_the_flag_the_flag_is_removed_once_and_not_put_back() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let finish = FlaggedOptions { on_refused: OnRefused::Finish, ..with_files() };
    for (link, target) in [
        ("notes.txt", Some("create_me.flag")),
        ("seen", Some("create_me.flag")),
        ("alf/x.log", Some("../create_me.flag")),
        ("alf/y.log", Some("../notes/../create_me.flag")),
        ("alyx-session.yaml", Some("create_me.flag")),
        (".hidden", Some("create_me.flag")),
        ("alf/spikes.clusters.npy", Some("../create_me.flag")),
        ("notes.txt", None),
        (".hidden", None),
        ("alf/spikes.clusters.npy", None),
    ] {
        let session = rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc").file("notes/x.txt", "a");
        let flag = session.flag();
        let path = session.folder.join(link);
        match target {
            Some(target) => symlink(target, path).unwrap(),
            None => std::fs::hard_link(flag, path).unwrap(),
        }
        let registered = session.register(&alyx.client(), &finish).await.unwrap();
        assert_eq!((registered.flag, session.is_flagged()), (Removal::Removed, false), "{link} {target:?}");
        assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    }
}

/// A link may go by another one, whose own name says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_link_to_the_flag_is_one_to_the_flag() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    symlink("create_me.flag", session.folder.join("first")).unwrap();
    symlink("../first", session.folder.join("alf/second")).unwrap();
    let registered = session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_eq!((registered.flag, session.is_flagged()), (Removal::Removed, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_refused_is_left_out_with_its_own_advice_and_the_other_named_files_are_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    std::fs::create_dir_all(rig.beside("disk2/deep")).unwrap();
    std::fs::write(rig.beside("disk2/deep/x.npy"), "abc").unwrap();
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.clusters.npy", "a");
    let (link, file) =
        (session.folder.join("alf/spikes.times.npy"), session.folder.join("alf/spikes.clusters.npy"));
    symlink(rig.beside("disk2/deep/x.npy"), &link).unwrap();
    let config = configured(&alyx, &rig, rig.root(), "");
    let said = |words: &[&str]| {
        let mut command = program();
        command.args(words).args(["--config", config.to_str().unwrap()]);
        crate::verbs::run(&mut command)
    };
    let (folder, link) = (session.folder.to_str().unwrap(), link.to_str().unwrap());
    said(&["create-session", folder]).ends(0);
    let files = ["register-files", link, file.to_str().unwrap()];
    for words in [&[&files[..], &["--dry-run"]].concat()[..], &files] {
        let text = said(words).ends(1).out;
        let line = text.lines().find(|line| line.starts_with("left out")).unwrap_or_default();
        assert!(line.contains(link) && line.contains("links.allow: ["), "{text}");
        assert!(!text.contains("check that the user") && text.contains("1 dataset"), "{text}");
    }
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.clusters.npy"]);
    let both = ["register-session", folder, "--file", link, "--file", files[2], "--json"];
    let json = said(&both).ends(1).json();
    assert!(json["files"]["left_out"][0]["reason"].as_str().unwrap().contains("links.allow"), "{json}");
    assert_eq!(json["files"]["records"][0]["record"], serde_json::Value::Null);
    // All of them refused: nothing is sent.
    alyx.control().clear_requests();
    said(&["register-files", link]).ends(1);
    assert!(alyx.control().requests().iter().all(|request| !request.path.starts_with("/register-file")));
}
