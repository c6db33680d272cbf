//! Ctrl-C: the first one asks the work to stop, the second one stops it.

use std::process;

use super::INTERRUPTED;
use crate::batcher::Cancel;

/// From now on Ctrl-C cancels `work`. Where the system refuses, it ends the program as before.
pub fn cancels(work: &Cancel) {
    let work = work.clone();
    // Without a handler nothing is lost but the list of what was left.
    let _ = ctrlc::set_handler(move || {
        if work.is_cancelled() {
            process::exit(INTERRUPTED.into());
        }
        work.cancel();
        eprintln!("undertone: stopping; Ctrl-C again stops at once");
    });
}
