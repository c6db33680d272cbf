//! Loads an engine while the screen tells what it waits for.

use anyhow::Result;

use super::progress::{ModelProgress, Screen};
use super::terminal::complain;
use crate::engine::{Engine, EngineBuilder};
use crate::kernels::SimdLevel;

/// The engine, with what is odd about its model said.
pub fn load(builder: &EngineBuilder, screen: &Screen) -> Result<Engine> {
    let mut lines = ModelProgress::new(screen);
    let engine = builder
        .clone()
        .build_with(&mut |progress| lines.update(&progress));
    lines.finish();
    let engine = engine?;
    if let Some(note) = plain_loops(SimdLevel::best()) {
        screen.suspend(|| complain(&format!("warning: {note}")));
    }
    for warning in engine.warnings() {
        let weights = engine.files().weights.display();
        screen.suspend(|| complain(&format!("warning: {weights}: {warning}")));
    }
    if let Some(note) = engine.device_note() {
        screen.say(note);
    }
    if let Some(note) = engine.plan().note() {
        screen.say(note);
    }
    Ok(engine)
}

/// What to expect of a processor at whose best there are only plain loops.
pub fn plain_loops(best: SimdLevel) -> Option<String> {
    (best == SimdLevel::SCALAR).then(|| {
        format!(
            "this processor ({}) has none of the vector instructions that kernels are written for (AVX2 with \
             FMA and F16C, AVX-512, or NEON): plain loops compute the same, ten times slower and more",
            std::env::consts::ARCH
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_processor_without_vectors_is_told_of_plain_loops() {
        for level in SimdLevel::available() {
            let note = plain_loops(level);
            assert_eq!(note.is_some(), level.name() == "scalar", "{level}");
            assert!(note.is_none_or(|note| note.contains(std::env::consts::ARCH)));
        }
    }
}
