//! Shows segments as they are found: `cargo run --release --example stream -- FILE`.

use undertone::{Engine, TranscribeOptions};

fn main() -> undertone::Result<()> {
    let file = std::env::args().nth(1).expect("an audio file");
    let engine = Engine::builder().build()?;
    for segment in engine.segments(file, &TranscribeOptions::default()) {
        let segment = segment?;
        println!(
            "{:7.2} → {:7.2} {}",
            segment.start, segment.end, segment.text
        );
    }
    Ok(())
}
