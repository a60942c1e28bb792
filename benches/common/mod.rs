//! What the benchmarks share: the machine they ran on, rounds, medians, and the table of figures.
#![allow(dead_code, reason = "each benchmark uses its own part")]

pub mod registrar;
pub mod rig;

use std::fmt::Display;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whatever stops a benchmark from measuring.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Reads the options. `cargo bench` passes `--bench`; without it `cargo test` is calling, which wants to know
/// only whether the benchmark works: then `quick` takes the place of what was typed.
pub fn options<O: clap::Parser>(quick: impl FnOnce() -> O) -> O {
    let typed: Vec<String> = std::env::args().collect();
    if !typed.iter().any(|argument| argument == "--bench") {
        println!("one tiny round: its figures mean nothing (cargo bench measures)");
        return quick();
    }
    O::parse_from(typed.into_iter().filter(|argument| argument != "--bench"))
}

/// The middle one, or the mean of the two in the middle.
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

/// One figure a round.
#[derive(Debug, Default, Clone)]
pub struct Series(pub Vec<f64>);

impl Series {
    /// The median over the rounds; `None` if nothing was measured.
    pub fn median(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| median(&self.0))
    }

    /// The median of the rounds' own ratios: what slows down the machine for a while slows down both.
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

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub enum Required {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
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

/// The figures, as a person reads them.
pub struct Table {
    rows: Vec<[String; 6]>,
}

impl Table {
    /// Prints what is measured and on which machine.
    pub fn begin(title: &str) -> Self {
        println!("\n{title}\n{}\n", machine());
        let head = ["", "ours", "beside", "figure", "required", ""].map(str::to_owned);
        Self { rows: vec![head] }
    }

    /// A figure beside nothing, only to be read.
    pub fn note(&mut self, what: impl Display, figure: impl Display) {
        self.push(what, figure, "", "", "", "");
    }

    /// A figure of somebody else, only to be read.
    pub fn peer(&mut self, what: impl Display, figure: impl Display) {
        self.push(what, "", figure, "", "", "");
    }

    /// A figure of ours that must keep within a limit.
    pub fn limit(&mut self, what: impl Display, figure: f64, unit: &str, required: Required) {
        let (bound, verdict) = verdict(figure, unit, required);
        self.push(what, with_unit(figure, unit), "", "", bound, verdict);
    }

    /// A ratio of ours to a peer. `None`: it could not be measured.
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

/// Three digits that count, and the unit.
pub fn with_unit(figure: f64, unit: &str) -> String {
    let decimals = match figure.abs() {
        _ if figure.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.decimals$} {unit}")
}

/// A median with its unit, or what to say where nothing was measured.
pub fn shown(series: &Series, unit: &str) -> String {
    series.median().map_or_else(|| "missing".to_owned(), |figure| with_unit(figure, unit))
}

/// Cores, processor, memory, kernel, and how busy it is with other things.
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

/// A `Name:  123 kB` field of `/proc`, in the unit that it has there.
pub fn proc_field(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Seconds of processor that a process and the children that it waited for have used, all threads together.
/// Unlike the time on the wall it does not depend on who else wants the processors.
pub fn processor_seconds(process: &Path) -> Result<f64, Error> {
    let stat = std::fs::read_to_string(process.join("stat"))?;
    // The name of the program stands in brackets and may hold anything.
    let (_, after_name) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u64>().ok()).sum();
    // A hundredth of a second on every Linux, as far as programs are told.
    Ok(ticks as f64 / 100.0)
}

/// This process, for [`processor_seconds`].
pub const SELF: &str = "/proc/self";

/// Whether a program can be started. Says so if not.
pub fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = command.status().is_ok();
    if !there {
        println!("{program} is missing here: its figures are left out");
    }
    there
}

/// Waits until `is_so`, looking often. `false`: it did not come to be within `at_most`.
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

/// A child process that ends with this value.
pub struct Child(pub std::process::Child);

impl Child {
    /// `/proc/<pid>`.
    pub fn proc(&self) -> std::path::PathBuf {
        Path::new("/proc").join(self.0.id().to_string())
    }

    /// The most memory that it ever held, in MB.
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
