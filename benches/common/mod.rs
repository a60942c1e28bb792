//! Shared by the benchmarks: the description of the machine, rounds, medians, and the table of figures.
#![allow(dead_code, reason = "each benchmark uses its own part")]

pub mod cgroup;
pub mod python_client;
pub mod registrar;
pub mod rig;

use std::fmt::Display;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Any error that stops a benchmark.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Reads the options. `cargo bench` passes `--bench`; without it the caller is `cargo test`, which only checks that the
/// benchmark works: then `quick` replaces the options.
pub fn options<O: clap::Parser>(quick: impl FnOnce() -> O) -> O {
    let typed: Vec<String> = std::env::args().collect();
    if !typed.iter().any(|argument| argument == "--bench") {
        println!("one tiny round: its figures mean nothing (cargo bench measures)");
        return quick();
    }
    O::parse_from(typed.into_iter().filter(|argument| argument != "--bench"))
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(value)) => *value,
        (_, Some(value)) => (sorted[middle - 1] + value) / 2.0,
    }
}

/// One figure per round.
#[derive(Debug, Default, Clone)]
pub struct Series(pub Vec<f64>);

impl Series {
    /// The median over the rounds; `None` if nothing was measured.
    pub fn median(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| median(&self.0))
    }

    /// The median of the per-round ratios: a temporary slowdown of the machine affects both figures of a round.
    pub fn ratio_to(&self, peer: &Self) -> Option<f64> {
        let ratios: Vec<f64> = self.0.iter().zip(&peer.0).map(|(ours, theirs)| ours / theirs).collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }
}

/// How long something took, in seconds.
pub fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed().as_secs_f64(), result)
}

/// The target of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Required {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Required {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }
}

/// A table of figures.
pub struct Table {
    rows: Vec<[String; 6]>,
}

impl Table {
    /// Prints what is measured and on which machine.
    pub fn begin(title: &str) -> Self {
        println!("\n{title}\n{}\n", machine());
        let head = ["", "ours", "peer", "figure", "required", ""].map(str::to_owned);
        Self { rows: vec![head] }
    }

    /// A figure without a target or peer.
    pub fn note(&mut self, what: impl Display, figure: impl Display) {
        self.push(what, figure, "", "", "", "");
    }

    /// A peer's figure, without a target.
    pub fn peer(&mut self, what: impl Display, figure: impl Display) {
        self.push(what, "", figure, "", "", "");
    }

    /// A figure of this program, with a target.
    pub fn limit(&mut self, what: impl Display, figure: f64, unit: &str, required: Required) {
        let (bound, verdict) = verdict(figure, unit, required);
        self.push(what, with_unit(figure, unit), "", "", bound, verdict);
    }

    /// The ratio of this program to a peer; `None` if it was not measured.
    pub fn ratio(
        &mut self,
        what: impl Display,
        ours: impl Display,
        peer: impl Display,
        ratio: Option<f64>,
        required: Option<Required>,
    ) {
        let figure = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} x"));
        let (bound, verdict) = match (ratio, required) {
            (Some(ratio), Some(required)) => verdict(ratio, "x", required),
            (None, Some(required)) => (verdict(0.0, "x", required).0, "not measured"),
            (_, None) => (String::new(), ""),
        };
        self.push(what, ours, peer, figure, bound, verdict);
    }

    fn push(
        &mut self,
        what: impl Display,
        ours: impl Display,
        peer: impl Display,
        figure: impl Display,
        required: impl Display,
        verdict: &str,
    ) {
        self.rows.push([
            what.to_string(),
            ours.to_string(),
            peer.to_string(),
            figure.to_string(),
            required.to_string(),
            verdict.to_owned(),
        ]);
    }

    /// Prints the figures.
    pub fn print(&self) {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        for row in &self.rows {
            let line: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .filter(|(_, (_, width))| **width > 0)
                .map(|(column, (cell, width))| match column {
                    0 | 5 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            println!("{}", line.join("  ").trim_end());
        }
        println!();
    }
}

fn verdict(figure: f64, unit: &str, required: Required) -> (String, &'static str) {
    let bound = match required {
        Required::AtLeast(least) => format!(">= {}", with_unit(least, unit)),
        Required::AtMost(most) => format!("<= {}", with_unit(most, unit)),
    };
    (bound, if required.is_met(figure) { "ok" } else { "NOT MET" })
}

/// Three significant digits, and the unit.
pub fn with_unit(figure: f64, unit: &str) -> String {
    let decimals = match figure.abs() {
        _ if figure.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.decimals$} {unit}")
}

/// A median with its unit, or `missing`.
pub fn shown(series: &Series, unit: &str) -> String {
    series.median().map_or_else(|| "missing".to_owned(), |figure| with_unit(figure, unit))
}

/// Cores, CPU, memory, kernel, and the load.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let memory = proc_field(Path::new("/proc/meminfo"), "MemTotal").unwrap_or(0) / (1 << 20);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "on {cores} cores ({}), {memory} GiB, Linux {}, load {load}{}",
        cpu.map_or("unknown", |(_, name)| name),
        kernel.trim(),
        if cfg!(debug_assertions) { ", DEBUG BUILD" } else { "" },
    )
}

/// A `Name:  123 kB` field of a `/proc` file, in its own unit.
pub fn proc_field(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU seconds of a process and the children it has waited for, over all threads. Unlike wall time, it does not depend on
/// the load of the machine.
pub fn processor_seconds(process: &Path) -> Result<f64, Error> {
    let stat = std::fs::read_to_string(process.join("stat"))?;
    // The program's name is in brackets and may contain any character.
    let (_, after_name) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux.
    Ok(ticks as f64 / 100.0)
}

/// This process, for [`processor_seconds`].
pub const SELF: &str = "/proc/self";

/// Whether a program can be started; prints a line if not.
pub fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = command.status().is_ok();
    if !there {
        println!("{program} is missing here: the comparison is left out");
    }
    there
}

/// Polls a condition; `false` if it is not true within `at_most`.
pub fn wait_until(at_most: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > at_most {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// A child process that is killed when this value is dropped.
pub struct Child(pub std::process::Child);

impl Child {
    /// `/proc/<pid>`.
    pub fn proc(&self) -> std::path::PathBuf {
        Path::new("/proc").join(self.0.id().to_string())
    }

    /// The peak resident memory, in MB.
    pub fn peak_memory(&self) -> Option<f64> {
        Some(proc_field(&self.proc().join("status"), "VmHWM")? as f64 * 1024.0 / 1e6)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
