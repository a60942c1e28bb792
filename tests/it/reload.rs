//! The built daemon, whose configuration changes while it runs (SIGHUP).

use crate::{common, notify_socket, program};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig, Session};
use notify_socket::NotifySocket;
use program::{Configuration, Program, output, program};

/// A rig with a daemon whose configuration can be written anew.
struct Place {
    rig: Rig,
    config: PathBuf,
    daemon: Program,
    settings: Configuration,
}

fn settings(alyx: &Alyx, rig: &Rig, more: &str) -> Configuration {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
}

impl Place {
    fn start(alyx: &Alyx, more: &str) -> Self {
        Self::start_with(alyx, more, |_| {})
    }

    fn start_with(alyx: &Alyx, more: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let rig = Rig::new();
        let settings = settings(alyx, &rig, more);
        let config = settings.write(&rig.beside("etc"));
        let mut command = program();
        command.arg("run").arg("--config").arg(&config);
        prepare(&mut command);
        let mut daemon = Program::start(&mut command);
        daemon.wait_for("data root scanned");
        Self { rig, config, daemon, settings }
    }

    /// Writes the configuration anew and has it read.
    fn reload(&mut self, change: impl FnOnce(&mut Configuration)) {
        change(&mut self.settings);
        self.settings.write(&self.rig.beside("etc"));
        self.daemon.signal("HUP");
        self.daemon.wait_for("the new configuration counts from now on");
    }

    /// Has a file read that cannot be used.
    fn reload_in_vain(&mut self, text: &str) -> String {
        let good = std::fs::read(&self.config).unwrap();
        std::fs::write(&self.config, text).unwrap();
        let before = self.daemon.said.len();
        self.daemon.signal("HUP");
        self.daemon.wait_for("the new configuration is not used");
        std::fs::write(&self.config, good).unwrap();
        self.daemon.said[before..].join("\n")
    }

    fn registers(&mut self, session: &Session) {
        self.daemon.wait_for(&format!("registered session=\"{}\"", session.name()));
        assert!(!session.is_flagged());
    }

    fn session(&self) -> Session {
        let session = self.rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "abc");
        session
    }
}

/// A session below another root.
fn session_in(root: &std::path::Path, number: u32) -> Session {
    let folder = root.join(format!("cortexlab/Subjects/KS014/2024-05-01/{number:03}"));
    std::fs::create_dir_all(&folder).unwrap();
    Session { folder }
}

fn held(method: &str, path: &str) -> (FaultRule, Gate) {
    let gate = Gate::default();
    let fault = Fault::Hold(gate.clone());
    (FaultRule { method: Some(method.into()), path_prefix: path.into(), times: 1, fault }, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_data_root_is_taken_up_and_one_that_is_left_is_free_for_others() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "");
    let (left, new) = (place.rig.root(), place.rig.beside("new"));
    let waits = session_in(&new, 1);
    waits.flag();
    place.reload(|settings| settings.roots = vec![new.clone()]);
    place.registers(&waits);
    session_in(&new, 2).flag();
    place.registers(&session_in(&new, 2));
    // Nobody watches here any more, and somebody else may work on it.
    let other = session_in(&left, 3);
    other.flag();
    let locked = |root: PathBuf| {
        let settings = Configuration { roots: vec![root], ..settings(&alyx, &place.rig, "") };
        let config = settings.write(&place.rig.beside("elsewhere"));
        output(program().arg("scan").arg("--config").arg(config)).status.code()
    };
    assert_eq!((locked(new), locked(left)), (Some(74), Some(0)));
    assert!(!other.is_flagged());
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_root_that_is_left_while_its_session_runs_can_be_taken_up_again_at_once() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "");
    let (left, other) = (place.rig.root(), place.rig.beside("other"));
    let runs = session_in(&left, 1);
    let (rule, gate) = held("POST", "/sessions");
    alyx.control().add_fault(rule);
    runs.flag();
    gate.reached().await;
    place.reload(|settings| settings.roots = vec![other.clone()]);
    // What runs there still has the lock of the root.
    place.reload(|settings| settings.roots = vec![other, left.clone()]);
    let comes = session_in(&left, 2);
    comes.flag();
    place.registers(&comes);
    gate.open();
    place.registers(&runs);
    assert_eq!(alyx.control().sessions().len(), 2);
    let said = place.daemon.stop();
    assert!(!said.iter().any(|line| line.contains("another alyx-registrar")), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_told_with_file_line_and_key_and_the_old_one_stays() {
    let alyx = Alyx::sandbox().await;
    let mut systemd = NotifySocket::new();
    let mut place = Place::start_with(&alyx, "", |command| _ = command.env("NOTIFY_SOCKET", &systemd.path));
    let told =
        place.reload_in_vain("data_roots: [/data]\nalyx:\n  url: https://x.org\nwatch:\n  settle: 5\n");
    let config = place.config.display();
    assert!(told.contains(&format!("{config}:5: watch.settle: 5 has no unit")), "{told}");
    assert!(told.contains("alyx.url") || told.lines().count() <= 4, "{told}");
    tokio::task::block_in_place(|| {
        systemd.wait_for("RELOADING=1");
        assert!(systemd.heard.last().unwrap().contains("\nMONOTONIC_USEC="), "{:?}", systemd.heard);
        assert!(systemd.wait_for("READY=1").contains("is refused, the one before counts"));
    });
    // Work goes on as before.
    let session = place.session();
    session.flag();
    place.registers(&session);
    for (text, what) in
        [("data_roots: [", "config.yaml:2"), ("", "data_roots"), (&"x".repeat(2 << 20), "larger than 1 MiB")]
    {
        let told = place.reload_in_vain(text);
        assert!(told.contains(what), "{what}: {told}");
    }
    place.reload(|_| {});
    assert!(place.daemon.said.last().unwrap().contains("changed=\"nothing\""));
    tokio::task::block_in_place(|| while systemd.wait_for("READY=1").contains("is refused") {});
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_answer_holds_up_nothing_that_is_asked_meanwhile() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "");
    // As on a network drive whose server is away: whoever opens it waits.
    let good = std::fs::read(&place.config).unwrap();
    std::fs::remove_file(&place.config).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &place.config, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    place.daemon.signal("HUP");
    place.daemon.wait_for("reading the configuration again");
    place.daemon.signal("USR1");
    place.daemon.wait_for("scanning all data roots, as asked");
    let session = place.session();
    session.flag();
    place.registers(&session);
    place.daemon.wait_for("The one before stays in use until it does");
    // What was asked while it was read is done then.
    place.daemon.signal("HUP");
    let beside = place.config.with_extension("new");
    std::fs::write(&beside, &good).unwrap();
    let waits = std::fs::File::options().write(true).open(&place.config);
    std::fs::rename(&beside, &place.config).unwrap();
    std::io::Write::write_all(&mut waits.unwrap(), &good).unwrap();
    place.daemon.wait_for("the new configuration counts from now on");
    place.daemon.wait_for("the new configuration counts from now on");
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_ends_as_it_began_and_what_comes_goes_by_the_new_configuration() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "session:\n  task_protocol: before\n");
    let (first, second) = (place.session(), place.session());
    let (rule, gate) = held("POST", "/sessions");
    alyx.control().add_fault(rule);
    first.flag();
    gate.reached().await;
    place.reload(|settings| settings.more = "session:\n  task_protocol: after\n".into());
    assert!(place.daemon.said.last().unwrap().contains("changed=\"session\""));
    second.flag();
    place.registers(&second);
    assert!(first.is_flagged());
    gate.open();
    place.registers(&first);
    let sessions = alyx.control().sessions();
    let protocol = |session: &Session| {
        let of_that_day =
            |held: &&serde_json::Value| held["start_time"].to_string().contains(&session.date());
        sessions.iter().find(of_that_day).unwrap()["task_protocol"].as_str().unwrap().to_owned()
    };
    assert_eq!((protocol(&first), protocol(&second)), ("before".to_owned(), "after".to_owned()));
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waited_for_a_person_runs_when_the_configuration_is_mended() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "session:\n  projects: [nonsense]\n");
    let session = place.session();
    session.flag();
    place.daemon.wait_for("needs attention");
    place.reload(|settings| settings.more = String::new());
    place.registers(&session);
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_under_the_old_configuration_runs_again_under_the_new_one() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "session:\n  projects: [nonsense]\nretry:\n  permanent: 1 h\n");
    let session = place.session();
    let (rule, gate) = held("GET", "/projects");
    alyx.control().add_fault(rule);
    session.flag();
    gate.reached().await;
    place.reload(|settings| settings.more = "retry:\n  permanent: 1 h\n".into());
    gate.open();
    place.daemon.wait_for("not registered under the earlier configuration");
    place.registers(&session);
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_being_created_is_not_created_a_second_time_by_the_new_client() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "");
    let (here, there) = (place.rig.root(), place.rig.beside("video"));
    let (behaviour, video) = (session_in(&here, 1), session_in(&there, 1));
    behaviour.file("alf/spikes.times.npy", "abc");
    video.file("alf/spikes.clusters.npy", "abc");
    let (rule, gate) = held("POST", "/sessions");
    alyx.control().add_fault(rule);
    behaviour.flag();
    gate.reached().await;
    video.flag();
    alyx.control().clear_requests();
    place.reload(|settings| settings.roots.push(there));
    // The new one begins, but does not even look the session up, as it would find none.
    alyx.control().wait_for(|seen| seen.method == "GET" && seen.path == "/dataset-types").await;
    let looks = alyx.control().wait_for(|seen| seen.method == "GET" && seen.path == "/sessions");
    assert!(tokio::time::timeout(Duration::from_secs(1), looks).await.is_err());
    gate.open();
    place.daemon.wait_for("registered session");
    place.daemon.wait_for("registered session");
    assert_eq!(alyx.control().sessions().len(), 1);
    assert_eq!(alyx.dataset_paths(&video).await.len(), 2);
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_may_change_also_of_a_server_that_is_away() {
    let (alyx, other) = (Alyx::sandbox().await, Alyx::sandbox().await);
    let mut place = Place::start(&alyx, "");
    let right = place.settings.url.clone();
    place.reload(|settings| settings.url = "http://127.0.0.1:9".into());
    let session = place.session();
    session.flag();
    place.daemon.wait_for("Alyx is away");
    place.reload(|settings| settings.url = right);
    place.registers(&session);
    place.reload(|settings| settings.url = other.url.clone());
    let session = place.session();
    session.flag();
    place.registers(&session);
    assert_eq!((alyx.control().sessions().len(), other.control().sessions().len()), (1, 1));
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_a_name_that_is_none_any_more_are_not_waited_for() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "watch:\n  settle: 1 h\n");
    let session = place.session();
    session.flag();
    let shows = |place: &Place, wanted: bool| {
        let end = std::time::Instant::now() + common::AT_MOST;
        loop {
            let state = place.rig.beside("etc/state");
            let output = output(program().arg("status").arg("--state-dir").arg(state));
            let text = String::from_utf8(output.stdout).unwrap();
            if text.contains(&session.name()) == wanted {
                return;
            }
            assert!(std::time::Instant::now() < end, "{text}");
        }
    };
    shows(&place, true);
    place.reload(|settings| settings.more = "watch:\n  settle: 1 h\nflags: [other.flag]\n".into());
    shows(&place, false);
    place.reload(|settings| settings.more = "watch:\n  settle: 1 h\n".into());
    shows(&place, true);
    assert!(session.is_flagged());
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_changes_and_what_cannot_change_is_told() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "");
    place.reload(|settings| settings.more = "log:\n  level: debug\n  format: json\n".into());
    let said = place.daemon.text();
    assert!(said.contains("log.format has changed: the new value takes effect at the next start"), "{said}");
    let session = place.session();
    session.flag();
    place.daemon.wait_for("DEBUG flag found");
    place.registers(&session);
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_data_root_may_come_around_the_state_folder_that_is_in_use() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "");
    let (etc, elsewhere) = (place.rig.beside("etc"), place.rig.beside("state"));
    let text = std::fs::read_to_string(&place.config).unwrap();
    let text = text.replace(&etc.join("state").display().to_string(), &elsewhere.display().to_string());
    let text = text.replace("data_roots:\n", &format!("data_roots:\n  - {}\n", etc.display()));
    let told = place.reload_in_vain(&text);
    assert!(told.contains("state_dir has changed: the new value takes effect at the next start"), "{told}");
    assert!(told.contains("holds the state folder"), "{told}");
    assert!(!elsewhere.exists());
    place.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_missing_at_the_start_is_told_once_and_waited_for() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let config = settings(&alyx, &rig, "").write(&rig.beside("etc"));
    let password = rig.beside("etc/password");
    let content = std::fs::read(&password).unwrap();
    std::fs::remove_file(&password).unwrap();
    let mut systemd = NotifySocket::new();
    let mut command = program();
    command.arg("run").arg("--config").arg(&config).env("NOTIFY_SOCKET", &systemd.path);
    let mut daemon = Program::start(&mut command);
    let told = daemon.wait_for("ERROR nothing can be registered");
    assert!(told.contains("etc/password does not exist") && told.contains("as soon as it changes"), "{told}");
    tokio::task::block_in_place(|| systemd.wait_for("all wait: no password or token since 20"));
    assert!(alyx.control().requests().is_empty());
    std::fs::write(&password, content).unwrap();
    daemon.wait_for("registered session");
    assert!(!session.is_flagged());
    let said = daemon.stop();
    assert_eq!(said.iter().filter(|line| line.contains("ERROR")).count(), 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_missing_is_not_waited_for() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let config = settings(&alyx, &rig, "").write(&rig.beside("etc"));
    let text = std::fs::read_to_string(&config).unwrap();
    let start = text.find("  password_file:").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    std::fs::write(&config, format!("{}{}", &text[..start], &text[end + 1..])).unwrap();
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    assert_eq!(daemon.wait().code(), Some(77), "{}", daemon.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_counts_at_once_and_one_that_is_gone_changes_nothing() {
    let alyx = Alyx::sandbox().await;
    let mut place = Place::start(&alyx, "");
    place.settings.password = "wrong".into();
    place.reload(|_| {});
    assert!(place.daemon.said.last().unwrap().contains("password or token"), "{}", place.daemon.text());
    let session = place.session();
    std::fs::remove_dir_all(place.rig.beside("etc/state")).unwrap();
    session.flag();
    place.daemon.wait_for("nothing can be registered");
    place.settings.password = alyx.password.clone();
    place.reload(|_| {});
    place.registers(&session);
    std::fs::remove_file(place.rig.beside("etc/password")).unwrap();
    place.daemon.signal("HUP");
    assert!(place.daemon.wait_for("does not exist").contains("The one in use stays in use"));
    place.daemon.wait_for("the new configuration counts from now on");
    let session = place.session();
    session.flag();
    place.registers(&session);
    place.daemon.stop();
}
