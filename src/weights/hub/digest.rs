//! Hashing of files while they are read or written.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::weights::checkpoint::hex;

const BLOCK_BYTES: usize = 1 << 18;

/// SHA-256 of a file in hexadecimal.
pub(super) fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    copy_hashing(&mut file, &mut std::io::sink(), &mut Sha256::new()).map(|(_, hash)| hash)
}

/// Copies all of `from`, adding to `hash`; how many bytes, and the hash so far in hexadecimal.
pub(super) fn copy_hashing(
    from: &mut dyn Read,
    to: &mut dyn Write,
    hash: &mut Sha256,
) -> std::io::Result<(u64, String)> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut copied = 0;
    loop {
        let n = match from.read(&mut block) {
            Ok(0) => return Ok((copied, hex(&hash.clone().finalize()))),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let bytes = block.get(..n).unwrap_or_default();
        hash.update(bytes);
        to.write_all(bytes)?;
        copied += n as u64;
    }
}

/// Why a file is not the one that was expected, if so. A wrong one is deleted.
pub(super) fn reject(path: &Path, bytes: Option<u64>, sha256_hex: &str) -> Result<(), String> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let found = std::fs::metadata(path)
        .map_err(|e| format!("{name}: {e}"))?
        .len();
    let wrong = match bytes {
        Some(bytes) if bytes != found => format!("{name} has {found} bytes, not {bytes}"),
        _ => match sha256(path) {
            Ok(hash) if hash == sha256_hex => return Ok(()),
            Ok(hash) => format!("{name} has SHA-256 {hash}, not {sha256_hex}; deleted"),
            Err(e) => format!("{name}: {e}"),
        },
    };
    let _ = std::fs::remove_file(path);
    Err(wrong)
}

/// Makes the names in a folder survive a power cut, where the system can.
pub(super) fn sync_dir(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}
