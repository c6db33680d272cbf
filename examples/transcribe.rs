//! Writes a file's speech down: `cargo run --release --example transcribe -- FILE [MODEL]`.

use undertone::{Engine, TranscribeOptions};

fn main() -> undertone::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("an audio file");
    let model = arguments.next().unwrap_or_else(|| "base".into());

    let engine = Engine::builder().model(model).build()?;
    let transcript = engine.transcribe(file, &TranscribeOptions::default())?;
    println!("{}: {}", transcript.language, transcript.text.trim());
    Ok(())
}
