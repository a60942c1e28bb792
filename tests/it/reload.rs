//! The built daemon, whose configuration changes while it runs (SIGHUP).

use crate::{common, notify_socket, program};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig, Session};
use notify_socket::NotifySocket;
use program::{Configuration, Program, output, program};

/// A rig with a daemon whose configuration can be rewritten.
struct World {
    rig: Rig,
    config: PathBuf,
    daemon: Program,
    settings: Configuration,
}

fn settings(alyx: &Alyx, rig: &Rig, more: &str) -> Configuration {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    Configuration { roots: vec![rig.root()], url, user, password, more: more.into() }
}

impl World {
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

    /// Rewrites the configuration and reloads it.
    fn reload(&mut self, change: impl FnOnce(&mut Configuration)) {
        change(&mut self.settings);
        self.settings.write(&self.rig.beside("etc"));
        self.daemon.signal("HUP");
        self.daemon.wait_for("the new configuration is in effect");
    }

    /// Reloads an invalid configuration.
    fn reload_invalid(&mut self, text: &str) -> String {
        let good = std::fs::read(&self.config).unwrap();
        std::fs::write(&self.config, text).unwrap();
        let before = self.daemon.output_lines.len();
        self.daemon.signal("HUP");
        self.daemon.wait_for("the new configuration is not used");
        std::fs::write(&self.config, good).unwrap();
        self.daemon.output_lines[before..].join("\n")
    }

    fn wait_registered(&mut self, session: &Session) {
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
    let session = Session { folder };
    session.file("alf/spikes.times.npy", "abc");
    session
}

fn held(method: &str, path: &str) -> (FaultRule, Gate) {
    let gate = Gate::default();
    let fault = Fault::Hold(gate.clone());
    (FaultRule { method: Some(method.into()), path_prefix: path.into(), times: 1, fault }, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_data_root_is_watched_and_a_removed_one_is_released() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "");
    let (left, new) = (world.rig.root(), world.rig.beside("new"));
    let waits = session_in(&new, 1);
    waits.flag();
    world.reload(|settings| settings.roots = vec![new.clone()]);
    world.wait_registered(&waits);
    session_in(&new, 2).flag();
    world.wait_registered(&session_in(&new, 2));
    // This root is no longer watched, and another process may work on it.
    let other = session_in(&left, 3);
    other.flag();
    let locked = |root: PathBuf| {
        let settings = Configuration { roots: vec![root], ..settings(&alyx, &world.rig, "") };
        let config = settings.write(&world.rig.beside("elsewhere"));
        output(program().arg("scan").arg("--config").arg(config)).status.code()
    };
    assert_eq!((locked(new), locked(left)), (Some(74), Some(0)));
    assert!(!other.is_flagged());
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_to_what_is_read_is_shown_and_its_end_holds_for_the_file_that_is_being_read() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "reading: {max_rate: 1 MB, yield: false}\n");
    let session = world.session();
    // At this rate it would take half an hour.
    let large = std::fs::File::create(session.folder.join("alf/spikes.times.npy")).unwrap();
    large.set_len(2 << 30).unwrap();
    session.flag();
    let status = |config: &PathBuf| -> serde_json::Value {
        let printed = output(program().arg("status").arg("--json").arg("--config").arg(config));
        serde_json::from_slice(&printed.stdout).unwrap()
    };
    common::until("the file is being read", || {
        let status = status(&world.config);
        assert_eq!(status["daemon"]["max_read_rate"], 1_000_000);
        status["sessions"][0]["progress"]["bytes_done"].as_u64() > Some(0)
    });
    // What runs beside this test must not slow it down.
    world.reload(|settings| settings.more = "reading: {yield: false}\n".to_owned());
    world.wait_registered(&session);
    assert_eq!(status(&world.config)["daemon"]["max_read_rate"], serde_json::Value::Null);
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_yields_to_programs_that_wait_for_a_processor_until_a_reload_turns_this_off() {
    if !std::path::Path::new("/proc/pressure/cpu").exists() {
        return;
    }
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "reading: {min_rate: 3 MB}\n");
    let session = world.session();
    let large = std::fs::File::create(session.folder.join("alf/spikes.times.npy")).unwrap();
    large.set_len(4 << 40).unwrap();
    // More programs than processors.
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for _ in 0..2 * std::thread::available_parallelism().unwrap().get() {
        let is_over = std::sync::Arc::clone(&is_over);
        std::thread::spawn(move || while !is_over.load(std::sync::atomic::Ordering::Relaxed) {});
    }
    session.flag();
    let daemon = |config: &PathBuf| -> serde_json::Value {
        let printed = output(program().arg("status").arg("--json").arg("--config").arg(config));
        serde_json::from_slice::<serde_json::Value>(&printed.stdout).unwrap()["daemon"].take()
    };
    common::until("reading yields", || {
        daemon(&world.config)["yielding"] == serde_json::json!({"rate": 3_000_000, "cause": "processor"})
    });
    common::until("that is counted", || daemon(&world.config)["yielded"].as_u64() > Some(0));
    let text = output(program().arg("status").arg("--config").arg(&world.config));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("because other programs wait for a processor (reading.yield)"), "{text}");
    world.reload(|settings| settings.more = "reading: {yield: false}\n".to_owned());
    assert_eq!(daemon(&world.config)["yielding"], serde_json::Value::Null);
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_root_removed_while_its_session_runs_can_be_added_again_at_once() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "");
    let (left, other) = (world.rig.root(), world.rig.beside("other"));
    let runs = session_in(&left, 1);
    let (rule, gate) = held("POST", "/sessions");
    alyx.control().add_fault(rule);
    runs.flag();
    gate.reached().await;
    world.reload(|settings| settings.roots = vec![other.clone()]);
    // What runs there still holds the lock of the root.
    world.reload(|settings| settings.roots = vec![other, left.clone()]);
    let comes = session_in(&left, 2);
    comes.flag();
    world.wait_registered(&comes);
    gate.open();
    world.wait_registered(&runs);
    assert_eq!(alyx.control().sessions().len(), 2);
    let said = world.daemon.stop();
    assert!(!said.iter().any(|line| line.contains("another alyx-registrar")), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_is_reported_with_line_and_key_and_the_old_configuration_stays() {
    let alyx = Alyx::sandbox().await;
    let mut systemd = NotifySocket::new();
    let mut world = World::start_with(&alyx, "", |command| _ = command.env("NOTIFY_SOCKET", &systemd.path));
    let message =
        world.reload_invalid("data_roots: [/data]\nalyx:\n  url: https://x.org\nwatch:\n  settle: 5\n");
    let config = world.config.display();
    assert!(message.contains(&format!("{config}:5: watch.settle: 5 has no unit")), "{message}");
    assert!(message.contains("alyx.url") || message.lines().count() <= 4, "{message}");
    tokio::task::block_in_place(|| {
        systemd.wait_for("RELOADING=1");
        assert!(systemd.messages.last().unwrap().contains("\nMONOTONIC_USEC="), "{:?}", systemd.messages);
        assert!(systemd.wait_for("READY=1").contains("is refused, the previous one is in effect"));
    });
    // Work continues.
    let session = world.session();
    session.flag();
    world.wait_registered(&session);
    for (text, what) in
        [("data_roots: [", "config.yaml:1"), ("", "data_roots"), (&"x".repeat(2 << 20), "larger than 1 MiB")]
    {
        let message = world.reload_invalid(text);
        assert!(message.contains(what), "{what}: {message}");
    }
    world.reload(|_| {});
    assert!(world.daemon.output_lines.last().unwrap().contains("changed=\"nothing\""));
    tokio::task::block_in_place(|| while systemd.wait_for("READY=1").contains("is refused") {});
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_blocks_does_not_delay_other_requests() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "");
    // Like a network drive whose server is down: opening the file blocks.
    let good = std::fs::read(&world.config).unwrap();
    std::fs::remove_file(&world.config).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &world.config, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    world.daemon.signal("HUP");
    world.daemon.wait_for("reading the configuration again");
    world.daemon.signal("USR1");
    world.daemon.wait_for("scanning all data roots on SIGUSR1");
    let session = world.session();
    session.flag();
    world.wait_registered(&session);
    world.daemon.wait_for("the current configuration stays in use");
    // What was requested during the read is done afterwards.
    world.daemon.signal("HUP");
    let beside = world.config.with_extension("new");
    std::fs::write(&beside, &good).unwrap();
    let waits = std::fs::File::options().write(true).open(&world.config);
    std::fs::rename(&beside, &world.config).unwrap();
    std::io::Write::write_all(&mut waits.unwrap(), &good).unwrap();
    world.daemon.wait_for("the new configuration is in effect");
    world.daemon.wait_for("the new configuration is in effect");
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn running_sessions_end_as_they_began_and_new_ones_use_the_new_configuration() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "session:\n  task_protocol: before\n");
    let (first, second) = (world.session(), world.session());
    let (rule, gate) = held("POST", "/sessions");
    alyx.control().add_fault(rule);
    first.flag();
    gate.reached().await;
    world.reload(|settings| settings.more = "session:\n  task_protocol: after\n".into());
    assert!(world.daemon.output_lines.last().unwrap().contains("changed=\"session\""));
    second.flag();
    world.wait_registered(&second);
    assert!(first.is_flagged());
    gate.open();
    world.wait_registered(&first);
    let sessions = alyx.control().sessions();
    let protocol = |session: &Session| {
        let of_that_day =
            |held: &&serde_json::Value| held["start_time"].to_string().contains(&session.date());
        sessions.iter().find(of_that_day).unwrap()["task_protocol"].as_str().unwrap().to_owned()
    };
    assert_eq!((protocol(&first), protocol(&second)), ("before".to_owned(), "after".to_owned()));
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_needed_attention_runs_when_the_configuration_is_fixed() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "session:\n  projects: [nonsense]\n");
    let session = world.session();
    session.flag();
    world.daemon.wait_for("needs attention");
    world.reload(|settings| settings.more = String::new());
    world.wait_registered(&session);
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_fails_under_the_old_configuration_runs_again_under_the_new_one() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "session:\n  projects: [nonsense]\nretry:\n  permanent: 1 h\n");
    let session = world.session();
    let (rule, gate) = held("GET", "/projects");
    alyx.control().add_fault(rule);
    session.flag();
    gate.reached().await;
    world.reload(|settings| settings.more = "retry:\n  permanent: 1 h\n".into());
    gate.open();
    world.daemon.wait_for("not registered under the earlier configuration");
    world.wait_registered(&session);
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_being_created_is_not_created_a_second_time_by_the_new_client() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "");
    let (here, there) = (world.rig.root(), world.rig.beside("video"));
    let (behaviour, video) = (session_in(&here, 1), session_in(&there, 1));
    behaviour.file("alf/spikes.times.npy", "abc");
    video.file("alf/spikes.clusters.npy", "abc");
    let (rule, gate) = held("POST", "/sessions");
    alyx.control().add_fault(rule);
    behaviour.flag();
    gate.reached().await;
    video.flag();
    alyx.control().clear_requests();
    world.reload(|settings| settings.roots.push(there));
    // The new client starts, but does not look the session up yet, because it would not find it.
    alyx.control().wait_for(|seen| seen.method == "GET" && seen.path == "/dataset-types").await;
    let looks = alyx.control().wait_for(|seen| seen.method == "GET" && seen.path == "/sessions");
    assert!(tokio::time::timeout(Duration::from_secs(1), looks).await.is_err());
    gate.open();
    world.daemon.wait_for("registered session");
    world.daemon.wait_for("registered session");
    assert_eq!(alyx.control().sessions().len(), 1);
    assert_eq!(alyx.dataset_paths(&video).await.len(), 2);
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_may_change_even_during_an_outage() {
    let (alyx, other) = (Alyx::sandbox().await, Alyx::sandbox().await);
    let mut world = World::start(&alyx, "");
    let right = world.settings.url.clone();
    world.reload(|settings| settings.url = "http://127.0.0.1:9".into());
    let session = world.session();
    session.flag();
    world.daemon.wait_for("Alyx does not answer");
    world.reload(|settings| settings.url = right);
    world.wait_registered(&session);
    world.reload(|settings| settings.url = other.url.clone());
    let session = world.session();
    session.flag();
    world.wait_registered(&session);
    assert_eq!((alyx.control().sessions().len(), other.control().sessions().len()), (1, 1));
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_with_a_name_removed_from_the_configuration_leave_the_queue() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "watch:\n  settle: 1 h\n  empty_grace: 0 s\n");
    let session = world.session();
    session.flag();
    let shows = |world: &World, wanted: bool| {
        let end = std::time::Instant::now() + common::AT_MOST;
        loop {
            let state = world.rig.beside("etc/state");
            let output = output(program().arg("status").arg("--state-dir").arg(state));
            let text = String::from_utf8(output.stdout).unwrap();
            if text.contains(&session.name()) == wanted {
                return;
            }
            assert!(std::time::Instant::now() < end, "{text}");
        }
    };
    shows(&world, true);
    world.reload(|settings| {
        settings.more = "watch:\n  settle: 1 h\n  empty_grace: 0 s\nflags: [other.flag]\n".into()
    });
    shows(&world, false);
    world.reload(|settings| settings.more = "watch:\n  settle: 1 h\n  empty_grace: 0 s\n".into());
    shows(&world, true);
    assert!(session.is_flagged());
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_changes_and_settings_that_need_a_restart_are_reported() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "");
    world.reload(|settings| settings.more = "log:\n  level: debug\n  format: json\n".into());
    let said = world.daemon.text();
    assert!(said.contains("log.format has changed: the new value takes effect at the next start"), "{said}");
    let session = world.session();
    session.flag();
    world.daemon.wait_for("DEBUG flag found");
    world.wait_registered(&session);
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_data_root_may_contain_the_state_folder_in_use() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "");
    let (etc, elsewhere) = (world.rig.beside("etc"), world.rig.beside("state"));
    let text = std::fs::read_to_string(&world.config).unwrap();
    let text = text.replace(&etc.join("state").display().to_string(), &elsewhere.display().to_string());
    let text = text.replace("data_roots:\n", &format!("data_roots:\n  - {}\n", etc.display()));
    let message = world.reload_invalid(&text);
    assert!(
        message.contains("state_dir has changed: the new value takes effect at the next start"),
        "{message}"
    );
    assert!(message.contains("holds the state folder"), "{message}");
    assert!(!elsewhere.exists());
    world.daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_missing_at_the_start_is_reported_once_and_waited_for() {
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
    let message = daemon.wait_for("ERROR nothing can be registered");
    assert!(
        message.contains("etc/password does not exist") && message.contains("as soon as it changes"),
        "{message}"
    );
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
async fn a_new_password_applies_at_once_and_a_deleted_one_changes_nothing() {
    let alyx = Alyx::sandbox().await;
    let mut world = World::start(&alyx, "");
    world.settings.password = "wrong".into();
    world.reload(|_| {});
    assert!(
        world.daemon.output_lines.last().unwrap().contains("password or token"),
        "{}",
        world.daemon.text()
    );
    let session = world.session();
    std::fs::remove_dir_all(world.rig.beside("etc/state")).unwrap();
    session.flag();
    world.daemon.wait_for("nothing can be registered");
    world.settings.password = alyx.password.clone();
    world.reload(|_| {});
    world.wait_registered(&session);
    std::fs::remove_file(world.rig.beside("etc/password")).unwrap();
    world.daemon.signal("HUP");
    assert!(world.daemon.wait_for("does not exist").contains("the current credentials stay in use"));
    world.daemon.wait_for("the new configuration is in effect");
    let session = world.session();
    session.flag();
    world.wait_registered(&session);
    world.daemon.stop();
}
