//! Ctrl-C: before there is work it ends the program; then the first one asks the work to stop, and the
//! second one stops it.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::INTERRUPTED;
use super::progress::Screen;
use crate::batcher::Cancel;

/// Watches from now on.
pub struct Interrupt(Arc<AtomicBool>);

/// From now on Ctrl-C cleans the screen and ends the program. Where the system refuses, it ends the
/// program as before.
pub fn watch(work: &Cancel, screen: &Screen) -> Interrupt {
    let (work, screen) = (work.clone(), screen.clone());
    let has_begun = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&has_begun);
    // Without a handler nothing is lost but the list of what was left.
    let _ = ctrlc::set_handler(move || {
        if !begun.load(Ordering::Relaxed) || work.is_cancelled() {
            screen.clear();
            process::exit(INTERRUPTED.into());
        }
        work.cancel();
        screen.suspend(|| super::terminal::complain("stopping; Ctrl-C again stops at once"));
    });
    Interrupt(has_begun)
}

impl Interrupt {
    /// From now on Ctrl-C cancels the work first.
    pub fn work_begins(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
