//! Who may import whom: the law between rooms, and no circle between the files of one room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::tidy::{code, library_code, root, sources};

/// Room, and the rooms that it may import; the [`FREE`] ones are open to all but the kernels.
const LAW: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("device", &[]),
    ("audio", &[]),
    ("output", &[]),
    ("tokenizer", &[]),
    ("mel", &["kernels", "audio"]),
    ("vad", &["kernels", "audio"]),
    ("weights", &["kernels"]),
    ("attention", &["kernels"]),
    ("ranking", &["kernels"]),
    (
        "model",
        &["device", "attention", "weights", "kernels", "ranking"],
    ),
    ("decoding", &["ranking", "tokenizer"]),
    ("timing", &["decoding", "tokenizer"]),
    (
        "batcher",
        &["decoding", "timing", "model", "ranking", "tokenizer"],
    ),
    (
        "longform",
        &["decoding", "mel", "timing", "vad", "tokenizer"],
    ),
    ("engine", STAGES),
    ("eval", &["engine"]),
    ("server", FRONTS),
    ("internals", &["engine"]),
    ("cli", &[]),
];
/// What the engine puts together.
const STAGES: &[&str] = &[
    "attention",
    "audio",
    "batcher",
    "decoding",
    "device",
    "kernels",
    "longform",
    "mel",
    "model",
    "output",
    "ranking",
    "timing",
    "tokenizer",
    "vad",
    "weights",
];
/// What a front end is made of; the command line, whose `bench` and `doctor` look at every stage, also
/// imports the [`STAGES`] and the server. `internals` shows tests what they need of the stages.
const FRONTS: &[&str] = &[
    "audio",
    "tokenizer",
    "engine",
    "output",
    "weights",
    "attention",
    "eval",
    "batcher",
    "vad",
];
const FREE: &[&str] = &["error", "options", "dims", "transcript"];
/// Rooms of the law that are still to be built.
const NOT_BUILT: &[&str] = &[];

/// Imports that close a circle inside a room, and why they may.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

fn may_import(room: &str, other: &str) -> bool {
    let free = room != "kernels" && FREE.contains(&other);
    let of_internals = room == "internals" && STAGES.contains(&other);
    let of_cli =
        room == "cli" && (STAGES.contains(&other) || FRONTS.contains(&other) || other == "server");
    let lawful = LAW
        .iter()
        .any(|(name, allowed)| *name == room && allowed.contains(&other));
    room == other || free || of_internals || of_cli || lawful
}

/// `weights::hub` as its parts; the crate's root is empty.
type Module = Vec<String>;

/// A path that a source names, and the name that it has there.
#[derive(Clone, Debug)]
struct Named {
    path: Vec<String>,
    name: String,
}

/// The library's source files by their modules, with what each names.
struct Sources(BTreeMap<Module, Vec<Named>>);

impl Sources {
    /// All of `src/`; without tests, only what the library itself names.
    fn read(with_tests: bool) -> Self {
        let (src, mut files) = (root().join("src"), Vec::new());
        sources(&src, &mut files);
        let mut modules = BTreeMap::new();
        for file in files {
            let inside = file.strip_prefix(&src).unwrap().with_extension("");
            let parts = inside.iter().map(|part| part.to_str().unwrap().to_owned());
            let mut module: Module = parts.collect();
            if module.last().is_some_and(|name| name == "mod") || module == ["lib"] {
                module.pop();
            }
            let is_test = module.iter().any(|part| part.ends_with("tests"));
            if (with_tests || !is_test) && module != ["main"] {
                let text = fs::read_to_string(&file).unwrap();
                let code = if with_tests {
                    code(&text)
                } else {
                    library_code(&text)
                };
                modules.insert(module, named(&code));
            }
        }
        Self(modules)
    }

    /// The file that a path leads to from a module, through what other files pass on; what is not of this
    /// crate leads nowhere.
    fn resolve(&self, from: &[String], path: &[String]) -> Option<Module> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                (from[..from.len().checked_sub(ups)?].to_vec(), &path[ups..])
            }
            child if self.0.contains_key(&joined(from, child)) => (from.to_vec(), path),
            _ => return None,
        };
        while let Some(next) = rest.first().map(|part| joined(&at, part))
            && self.0.contains_key(&next)
        {
            (at, rest) = (next, &rest[1..]);
        }
        let passed = |named: &&Named| rest.first() == Some(&named.name) && named.name != "*";
        match self.0[&at].iter().find(passed) {
            Some(named) if at != from => self.resolve(&at, &named.path).or(Some(at)),
            _ => Some(at),
        }
    }

    /// Which files of its own room each file imports. A folder's `mod.rs` is the front of what lies below it
    /// and is made of that, so that way is free.
    fn inside_rooms(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut edges = BTreeMap::new();
        for (module, named) in &self.0 {
            let targets = named.iter().filter_map(|n| self.resolve(module, &n.path));
            let inside = |to: &Module| {
                !module.is_empty() && to.first() == module.first() && !to.starts_with(module)
            };
            let targets = targets.filter(inside).map(|to| to.join("::"));
            edges.insert(module.join("::"), targets.collect());
        }
        edges
    }
}

fn joined(module: &[String], name: &str) -> Module {
    let mut longer = module.to_vec();
    longer.push(name.to_owned());
    longer
}

/// What a source names: its `use` declarations, and paths from `crate`, `super` or `self` elsewhere.
fn named(code: &str) -> Vec<Named> {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let (before, declared) = line.split_once("use ").unwrap_or((line, ""));
        let starts =
            before.trim().is_empty() || before.trim().starts_with("pub") && !before.contains("fn");
        if declared.is_empty() || !starts {
            rest.push_str(line);
            rest.push('\n');
            continue;
        }
        let mut tree = declared.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().expect("a declaration ends"));
        }
        expand(&[], tree.split(';').next().unwrap(), &mut found);
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in rest.match_indices(start) {
            if rest[..at].ends_with(|c: char| is_name(c) || c == ':') {
                continue;
            }
            let end = rest[at..]
                .find(|c: char| !is_name(c) && c != ':')
                .unwrap_or(rest.len() - at);
            let path = rest[at..at + end]
                .split("::")
                .filter(|part| !part.is_empty());
            expand(&[], &path.collect::<Vec<_>>().join("::"), &mut found);
        }
    }
    found
}

/// The paths of a tree of imports: `a::{b, c::{self, d}}` is `a::b`, `a::c` and `a::c::d`.
fn expand(before: &[String], tree: &str, found: &mut Vec<Named>) {
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in tree.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => items.push(String::new()),
            c => items.last_mut().unwrap().push(c),
        }
    }
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split("::").map(|part| part.trim().to_owned());
        parts.filter(|part| !part.is_empty()).collect()
    };
    for item in items
        .iter()
        .map(|item| item.trim())
        .filter(|item| !item.is_empty())
    {
        if let Some((head, rest)) = item.split_once('{') {
            let before = [before, &parts(head)].concat();
            expand(
                &before,
                rest.rsplit_once('}').map_or(rest, |(inner, _)| inner),
                found,
            );
            continue;
        }
        let (path, alias) = item.split_once(" as ").unwrap_or((item, ""));
        let mut path = [before, &parts(path)].concat();
        if path.len() > 1 && path.last().is_some_and(|part| part == "self") {
            path.pop();
        }
        let name = match alias.trim() {
            "" => path.last().cloned().unwrap_or_default(),
            alias => alias.to_owned(),
        };
        found.push(Named { path, name });
    }
}

#[test]
fn rooms_import_only_what_the_law_allows() {
    let sources = Sources::read(true);
    let rooms: BTreeSet<&str> = sources
        .0
        .keys()
        .filter_map(|module| Some(module.first()?.as_str()))
        .collect();
    let mut broken = Vec::new();
    for (module, named) in &sources.0 {
        let Some(room) = module.first().filter(|room| !FREE.contains(&room.as_str())) else {
            continue;
        };
        let others = named
            .iter()
            .filter_map(|n| sources.resolve(module, &n.path)?.first().cloned());
        let unlawful = others.filter(|other| !may_import(room, other));
        broken.extend(unlawful.map(|other| format!("{} imports {other}", module.join("::"))));
    }
    assert!(
        broken.is_empty(),
        "imports against the law:\n{}",
        broken.join("\n")
    );
    let in_law: BTreeSet<&str> = LAW.iter().map(|(room, _)| *room).collect();
    let built = |room: &&&str| !NOT_BUILT.contains(*room);
    let due: BTreeSet<&str> = in_law.iter().filter(built).chain(FREE).copied().collect();
    assert_eq!(rooms, due, "rooms that are built, and rooms of the law");
    assert!(NOT_BUILT.iter().all(|room| in_law.contains(room)));
}

/// All files that a file leads to, itself only where there is a way back.
fn reached<'a>(edges: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), Vec::from_iter(edges.get(from)));
    while let Some(targets) = next.pop() {
        let new = targets.iter().filter(|to| seen.insert(to.as_str()));
        next.extend(new.filter_map(|to| edges.get(to)));
    }
    seen
}

#[test]
fn no_circle_of_files_in_a_room() {
    let mut edges = Sources::read(false).inside_rooms();
    for (from, to, reason) in EXCEPTIONS {
        let was_there = edges
            .get_mut(*from)
            .is_some_and(|targets| targets.remove(*to));
        assert!(
            was_there && !reason.is_empty(),
            "a needless exception: {from} to {to}"
        );
    }
    let mut circles = BTreeSet::new();
    for from in edges.keys() {
        let reached = reached(&edges, from).into_iter();
        let circle: BTreeSet<&str> = reached
            .filter(|to| self::reached(&edges, to).contains(&**from))
            .collect();
        if !circle.is_empty() {
            circles.insert(format!("{circle:?}"));
        }
    }
    assert!(
        circles.is_empty(),
        "circles of files:\n{}",
        circles.into_iter().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn sources_are_read_as_the_compiler_reads_them() {
    let text = "use super::{a::{self, B as C}, d};\n// use crate::no;\n#[cfg(test)]\nmod tests;\npub use e::F;\n\
                fn f() { crate::g::h(1); }\n#[cfg(test)]\nmod more {\n    use crate::i;\n}\n";
    let paths = |with_tests| -> Vec<String> {
        let named = named(&if with_tests {
            code(text)
        } else {
            library_code(text)
        });
        named
            .iter()
            .map(|n| format!("{} {}", n.path.join("::"), n.name))
            .collect()
    };
    let library = [
        "super::a a",
        "super::a::B C",
        "super::d d",
        "e::F F",
        "crate::g::h h",
    ];
    assert_eq!(paths(false), library);
    assert!(paths(true).contains(&"crate::i i".to_owned()));
    let file = |module: &str, code: &str| {
        let parts = module
            .split("::")
            .map(str::to_owned)
            .filter(|part| !part.is_empty());
        (parts.collect(), named(code))
    };
    let sources = Sources(BTreeMap::from([
        file("", "pub use room::One;\n"),
        file("room", "pub use one::One;\n"),
        file("room::one", "use super::two::Two;\n"),
        file("room::two", "use crate::One;\n"),
    ]));
    let edges = sources.inside_rooms();
    assert_eq!(edges["room::one"], BTreeSet::from(["room::two".to_owned()]));
    assert_eq!(edges["room::two"], BTreeSet::from(["room::one".to_owned()]));
    assert!(edges["room"].is_empty(), "a front is free");
}
