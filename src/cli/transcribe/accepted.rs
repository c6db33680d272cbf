//! What is known before any work: which recordings can be read, and where their outputs go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::inputs;
use crate::cli::resolve::Job;
use crate::cli::terminal::complain;
use crate::output::{self, OutputFormat};

/// A recording that can be read, and where its outputs go.
pub struct Accepted {
    pub path: PathBuf,
    pub outputs: Vec<(OutputFormat, PathBuf)>,
}

/// What is known before any work: the recordings that can be read and have places for their outputs,
/// and what is wrong with the others. Recordings whose outputs are there are passed over if it is asked
/// for.
pub fn sorted_out(job: &Job, found: Vec<inputs::Found>) -> (Vec<Accepted>, Vec<anyhow::Error>) {
    let map = job.speech_map.as_deref().map(output::probe).transpose();
    if let Err(fault) = map {
        return (Vec::new(), vec![fault.into()]);
    }
    let (mut claimed, mut skipped) = (HashMap::new(), 0);
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for inputs::Found { path, fault, .. } in found {
        let outputs = match fault {
            Some(fault) => Err(fault),
            None => claim_outputs(job, &path, &mut claimed),
        };
        match outputs {
            Err(fault) => faults.push(fault),
            Ok(outputs) if job.skip_existing && are_there(&outputs) => skipped += 1,
            Ok(outputs) => files.push(Accepted { path, outputs }),
        }
    }
    if skipped > 0 && !job.quiet {
        complain(&format!("{skipped} passed over: their outputs are there"));
    }
    (files, faults)
}

fn are_there(outputs: &[(OutputFormat, PathBuf)]) -> bool {
    !outputs.is_empty() && outputs.iter().all(|(_, path)| path.is_file())
}

/// Where a file's outputs go, once it is sure that they can be written there. A path that this run has
/// claimed already is an error, so that nothing is lost when two inputs have the same name.
fn claim_outputs(
    job: &Job,
    file: &Path,
    claimed: &mut HashMap<PathBuf, PathBuf>,
) -> Result<Vec<(OutputFormat, PathBuf)>> {
    let mut outputs = Vec::new();
    for &format in job.formats.iter().filter(|_| !job.to_stdout) {
        let path = output::path_for(&job.output_dir, file, format);
        if let Some(other) = claimed.get(&path) {
            anyhow::bail!(
                "{}: its text would go to {}, where that of {} goes; give one of them another name, \
                 or run them apart with another -o",
                file.display(),
                path.display(),
                other.display()
            );
        }
        output::probe(&path)?;
        claimed.insert(path.clone(), file.to_owned());
        outputs.push((format, path));
    }
    Ok(outputs)
}
