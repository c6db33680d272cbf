//! Loads an engine while the screen tells what it waits for.

use anyhow::Result;

use super::progress::{ModelProgress, Screen};
use super::terminal::complain;
use crate::engine::{Engine, EngineBuilder};

/// The engine, with what is odd about its model said.
pub fn load(builder: &EngineBuilder, screen: &Screen) -> Result<Engine> {
    let mut lines = ModelProgress::new(screen);
    let engine = builder
        .clone()
        .build_with(&mut |progress| lines.update(&progress));
    lines.finish();
    let engine = engine?;
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
