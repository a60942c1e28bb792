//! Looks for late files in registered sessions, in which nothing changed: what they cost day after day.

use std::path::Path;
use std::sync::Arc;

use alyx_client::{Client, ClientOptions, Credentials};
use alyx_registration::{
    FlaggedOptions, LookRules, Pace, RegistrationClient, RegistrationOptions, SessionSnapshot, StatRate,
};
use alyx_sandbox::{Sandbox, SandboxOptions};
use tokio_util::sync::CancellationToken;

use crate::common::{Error, Required, SELF, Series, Table, is_there, processor_seconds, seconds, shown};
use crate::{COLLECTIONS, FILES_OF_A_COLLECTION, Options, run_python, session};

/// What a program without the times of folders has to do: the size and the time of every file.
const WALK: &str = "
import sys, time
from pathlib import Path
began = time.perf_counter()
found = sum(1 for path in Path(sys.argv[1]).rglob('*') if path.stat().st_size >= 0 and path.is_file())
print(found, time.perf_counter() - began)
";

/// The default of `watch.late_rate`, in calls a second.
const RATE: usize = 200;

pub(crate) fn measure(options: &Options, root: &Path, table: &mut Table) -> Result<(), Error> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut sessions: Vec<Looked> =
        (0..options.sessions).map(|n| Looked::new(root, n)).collect::<Result<_, _>>()?;
    let sandbox = runtime.block_on(Sandbox::start(SandboxOptions::default()))?;
    let credentials = Credentials::Password {
        username: "test_user".to_owned(),
        password: "TapetesBloc18".to_owned().into(),
    };
    let alyx = Client::new(ClientOptions::new(sandbox.url(), credentials))?;
    let looks = Looks {
        client: RegistrationClient::new(alyx, RegistrationOptions::default()),
        options: FlaggedOptions::default(),
    };
    // Remembers what is there, as the registration does, and fetches the dataset types.
    runtime.block_on(looks.all(&mut sessions, true))?;

    let (mut times, mut files, mut python) = (Series::default(), Series::default(), Series::default());
    let has_python = is_there(&options.python);
    let requests = sandbox.control().requests().len();
    let mut processor = Series::default();
    for _ in 0..options.rounds.min(3) {
        let before = processor_seconds(Path::new(SELF))?;
        let (took, looked) = seconds(|| runtime.block_on(looks.all(&mut sessions, false)));
        looked?;
        times.0.push(took * 1e3);
        processor.0.push((processor_seconds(Path::new(SELF))? - before) * 1e3);
        let (took, looked) = seconds(|| runtime.block_on(looks.all(&mut sessions, true)));
        looked?;
        files.0.push(took * 1e3);
        if has_python {
            python.0.push(run_python(&options.python, WALK, root)?.1 * 1e3);
        }
    }
    if sandbox.control().requests().len() != requests {
        return Err("a look in which nothing was late asked Alyx".into());
    }
    let show = |series: &Series| shown(series, "ms");
    table.ratio(
        "check for late files, at the folders of all sessions, times faster than Path.rglob with stat",
        show(&times),
        show(&python),
        python.ratio_to(&times),
        Some(Required::AtLeast(5.0)),
    );
    table.ratio(
        "  the last check, at every file",
        show(&files),
        show(&python),
        python.ratio_to(&files),
        Some(Required::AtLeast(1.0)),
    );
    let per_session = processor.median().unwrap_or_default() / options.sessions as f64;
    table.limit("  processor time of a check of a session", per_session, "ms", Required::AtMost(0.5));
    let folders = 1 + COLLECTIONS.len();
    let calls = options.sessions * folders;
    table.note(
        "  stat calls of a check, and minutes at the default rate",
        format!("{calls}, {:.1}", calls as f64 / RATE as f64 / 60.0),
    );
    let calls = options.sessions * (folders + COLLECTIONS.len() * FILES_OF_A_COLLECTION);
    table.note("  of the last check", format!("{calls}, {:.1}", calls as f64 / RATE as f64 / 60.0));
    let stored = serde_json::to_string(&sessions[0].snapshot)?.len();
    table.limit("  remembered of a session", stored as f64, "bytes", Required::AtMost(1000.0));
    Ok(())
}

/// A registered session.
struct Looked {
    path: alf::SessionPath,
    snapshot: SessionSnapshot,
}

impl Looked {
    fn new(root: &Path, number: usize) -> Result<Self, Error> {
        Ok(Self {
            path: alf::SessionPath::parse(&session(root, number))?,
            snapshot: SessionSnapshot::default(),
        })
    }
}

struct Looks {
    client: RegistrationClient,
    options: FlaggedOptions,
}

impl Looks {
    /// Looks at all sessions once, without a limit on the rate.
    async fn all(&self, sessions: &mut [Looked], every_file: bool) -> Result<(), Error> {
        // The server does not know these sessions: nothing is late.
        let late_exclude = [glob::Pattern::new("*")?];
        let rules = LookRules { every_file, flagged: &self.options, late_exclude: &late_exclude };
        for looked in sessions {
            let pace = Pace { rate: Arc::new(StatRate::new(u32::MAX)), stop: CancellationToken::new() };
            let look = self.client.find_late_files(&looked.path, "", &looked.snapshot, &rules, pace).await?;
            looked.snapshot = look.ok_or("the look was stopped")?.snapshot;
        }
        Ok(())
    }
}
