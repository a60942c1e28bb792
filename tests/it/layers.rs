//! Imports point downward: no crate and no room knows one above it, and no two modules need each other, be it through
//! others. The `use` lines and the paths in the code are read for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// The crates, each with those that it may know.
const CRATES: [(&str, &[&str]); 7] = [
    ("alf", &[]),
    ("alyx_client", &["alf"]),
    ("alyx_registration", &["alf", "alyx_client", "md5_lanes", "session_metadata"]),
    ("alyx_sandbox", &[]),
    ("md5_lanes", &[]),
    ("session_metadata", &["alf"]),
    ("alyx_registrar", &["alf", "alyx_client", "alyx_registration", "alyx_sandbox", "session_metadata"]),
];

/// The rooms of the program, the lowest first. A room knows only those before it.
const ROOMS: [&str; 8] = ["humanize", "json", "ledger", "daemon", "config", "web", "alerts", "cli"];

/// Rooms that lie side by side: neither knows the other, although one comes before the other above.
const APART: [(&str, &str); 5] =
    [("web", "config"), ("alerts", "config"), ("alerts", "web"), ("daemon", "config"), ("config", "web")];

/// A module: its crate, and its path in it.
type Module = (String, Vec<String>);

/// The modules of all crates, each with its text without tests and comments.
fn modules() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources: Vec<(String, PathBuf)> = vec![("alyx_registrar".to_owned(), root.join("src"))];
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let folder = entry.unwrap();
        sources.push((folder.file_name().to_str().unwrap().replace('-', "_"), folder.path().join("src")));
    }
    let mut modules = BTreeMap::new();
    for (name, folder) in sources {
        for file in walkdir::WalkDir::new(&folder).into_iter().map(Result::unwrap) {
            let path = file.path();
            let is_tests = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "main");
            if path.extension().is_none_or(|ending| ending != "rs") || is_tests {
                continue;
            }
            let relative = path.strip_prefix(&folder).unwrap().with_extension("");
            let mut module: Vec<String> =
                relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|last| last == "mod" || last == "lib") {
                module.pop();
            }
            let text = std::fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            modules.insert((name.clone(), module), code.join("\n"));
        }
    }
    modules
}

/// The paths of a `use` statement, one for each name: `a::{b, c::{d, e}}` becomes `a::b`, `a::c::d`, `a::c::e`.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let (before, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap()]);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            letter => parts.last_mut().unwrap().push(letter),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expanded(part).into_iter().map(|path| format!("{before}{path}"))).collect()
}

/// The paths that a text names, as written; those that are re-exported come with `true`.
fn paths(code: &str) -> Vec<(String, bool)> {
    static STATEMENT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?m)^[ \t]*(pub(?:\([a-z]+\))? )?use ([^;]+);").unwrap());
    static INLINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?-u:\b)(?:crate|alf|alyx_client|alyx_registration|alyx_sandbox|md5_lanes|session_metadata)(?:::[A-Za-z0-9_]+)+")
            .unwrap()
    });
    let mut found = Vec::new();
    for captures in STATEMENT.captures_iter(code) {
        let tree: String = captures[2].split_whitespace().collect::<Vec<_>>().join(" ");
        found.extend(expanded(&tree).into_iter().map(|path| (path, captures.get(1).is_some())));
    }
    found.extend(INLINE.find_iter(code).map(|path| (path.as_str().to_owned(), false)));
    found
}

/// A path as crate and names; `None`: of a library.
fn absolute(path: &str, (name, module): &Module) -> Option<(String, Vec<String>)> {
    let mut parts: Vec<String> = path.split("::").map(|part| part.trim().to_owned()).collect();
    let first = parts.remove(0);
    let base = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.clone(),
        "super" => {
            let mut base = module[..module.len().saturating_sub(1)].to_vec();
            while parts.first().is_some_and(|part| part == "super") {
                parts.remove(0);
                base.pop();
            }
            base
        }
        other => return CRATES.iter().any(|(known, _)| *known == other).then_some((first, parts)),
    };
    Some((name.clone(), [base, parts].concat()))
}

/// Which modules a module needs: each path leads to the module where the thing is defined, through re-exports.
static NEEDS: LazyLock<BTreeMap<Module, BTreeSet<Module>>> = LazyLock::new(|| needs(&modules()));

fn needs(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut exported: BTreeMap<(Module, String), (String, Vec<String>)> = BTreeMap::new();
    for (module, code) in modules {
        for (path, is_public) in paths(code) {
            if let Some((name, parts)) = absolute(&path, module).filter(|_| is_public) {
                let item = parts.last().cloned().unwrap_or_default();
                exported.insert((module.clone(), item), (name, parts));
            }
        }
    }
    let resolve = |name: String, parts: Vec<String>| -> Option<Module> {
        let (mut name, mut parts) = (name, parts);
        for _ in 0..4 {
            let longest = (0..=parts.len())
                .rev()
                .find(|n| modules.contains_key(&(name.clone(), parts[..*n].to_vec())))?;
            let module = (name.clone(), parts[..longest].to_vec());
            let item = parts.get(longest).cloned().unwrap_or_default();
            match exported.get(&(module.clone(), item)) {
                Some((to, path)) if (to, path) != (&name, &parts) => {
                    (name, parts) = (to.clone(), path.clone())
                }
                _ => return Some(module),
            }
        }
        None
    };
    let of = |(module, code): (&Module, &String)| {
        let targets = paths(code).into_iter().filter_map(|(path, _)| {
            let (name, parts) = absolute(&path, module)?;
            resolve(name, parts)
        });
        (module.clone(), targets.filter(|target| target != module).collect())
    };
    modules.iter().map(of).collect()
}

fn named((name, module): &Module) -> String {
    format!("{name}::{}", module.join("::"))
}

#[test]
fn no_crate_knows_one_above_it() {
    for (module, targets) in NEEDS.iter() {
        let (_, may_know) = CRATES.iter().find(|(name, _)| *name == module.0).expect("a crate of the table");
        for target in targets.iter().filter(|target| target.0 != module.0) {
            assert!(may_know.contains(&target.0.as_str()), "{} uses {}", named(module), named(target));
        }
    }
}

#[test]
fn no_room_of_the_program_knows_one_above_it() {
    let room = |module: &Module| (module.0 == "alyx_registrar").then(|| module.1.first().cloned()).flatten();
    let height = |room: &str| ROOMS.iter().position(|known| *known == room).expect("a room of the table");
    for (module, targets) in NEEDS.iter() {
        let Some(from) = room(module) else { continue };
        for (target, to) in targets.iter().filter_map(|target| Some((target, room(target)?))) {
            let is_apart = APART.contains(&(from.as_str(), to.as_str()));
            let is_below = height(&to) <= height(&from) && !is_apart;
            assert!(is_below, "{} uses {}", named(module), named(target));
        }
    }
}

#[test]
fn no_two_modules_need_each_other() {
    let needs = &*NEEDS;
    // A file of a folder may use what its folder defines, and the folder's own file what its files define.
    let is_family = |one: &Module, other: &Module| {
        one.0 == other.0 && (one.1.starts_with(&other.1) || other.1.starts_with(&one.1))
    };
    let of = |module: &Module| -> Vec<Module> {
        needs[module].iter().filter(|target| !is_family(module, target)).cloned().collect()
    };
    let reachable = |from: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), of(from));
        while let Some(module) = open.pop() {
            if seen.insert(module.clone()) {
                open.extend(of(&module));
            }
        }
        seen
    };
    let circular: Vec<String> =
        needs.keys().filter(|module| reachable(module).contains(module)).map(named).collect();
    assert!(circular.is_empty(), "these need each other, be it through others: {circular:?}");
}

#[test]
fn a_use_statement_is_read_whole() {
    let code = "pub use crate::a::{B, c::{self, D as E}};\nfn f() { crate::x::y(); }";
    let wanted = [("crate::a::B", true), ("crate::a::c::self", true), ("crate::a::c::D", true)];
    let found = paths(code);
    for (path, is_public) in wanted {
        assert!(found.contains(&(path.to_owned(), is_public)), "{found:?}");
    }
    assert!(found.contains(&("crate::x::y".to_owned(), false)), "{found:?}");
}

/// `.clippy.toml` forbids these too, but a module that is allowed to read the clock is allowed to call them.
#[test]
fn no_module_sleeps_or_changes_the_process() {
    let calls = ["thread::sleep(", "env::set_var(", "env::set_current_dir(", "process::exit("];
    let found: Vec<String> = modules()
        .iter()
        .flat_map(|(module, code)| {
            let called = calls.into_iter().filter(|call| code.contains(call));
            called.map(|call| format!("{} {call}", named(module))).collect::<Vec<_>>()
        })
        .collect();
    let allowed = [
        "alyx_registrar::daemon::outside::signals process::exit(",
        // The kernel has no lock of a file that is waited for with a limit.
        "alyx_registrar::daemon::tree::lock thread::sleep(",
    ];
    assert_eq!(found, allowed);
}
