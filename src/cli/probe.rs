//! `probe`.

use anyhow::Result;

use super::args::ProbeArgs;
use super::{FAILED, FINE, resolve};
use crate::audio::{self, AudioOptions, Contents, TrackInfo};

/// Lists each file's audio tracks: 0 if each has one that can be heard, 1 if some have not.
pub fn run(args: &ProbeArgs) -> Result<u8> {
    let options = AudioOptions {
        track: args.audio_track.as_deref().map(resolve::audio_track),
        ..AudioOptions::default()
    };
    let mut code = FINE;
    for file in &args.audio {
        match audio::probe(resolve::input(file), &options) {
            Ok(contents) => {
                if contents.taken.is_none() {
                    code = FAILED;
                }
                match args.json {
                    true => say!("{}", serde_json::to_string(&contents)?),
                    false => say!("{}", in_words(&contents)),
                }
            }
            Err(error) => {
                eprintln!("undertone: {error}");
                code = FAILED;
            }
        }
    }
    Ok(code)
}

fn in_words(contents: &Contents) -> String {
    let mut lines = vec![format!("{}: {}", contents.name, contents.container)];
    for track in &contents.tracks {
        let taken = if contents.taken == Some(track.number) {
            " <- taken"
        } else {
            ""
        };
        lines.push(format!("  {}{taken}", line(track)));
    }
    lines.extend(contents.warnings.iter().map(|why| format!("  {why}")));
    lines.join("\n")
}

fn line(track: &TrackInfo) -> String {
    let mut parts = vec![format!("{}. {}", track.number, track.codec)];
    parts.extend(track.language.clone());
    parts.extend(track.is_default.then(|| "default".to_owned()));
    parts.extend(track.duration_s.map(|seconds| format!("{seconds:.1} s")));
    parts.extend((track.start_s > 0.0).then(|| format!("{:.1} s late", track.start_s)));
    parts.extend(track.sample_rate.map(|rate| format!("{rate} Hz")));
    parts.extend(track.channels.map(|count| match count {
        1 => "1 channel".to_owned(),
        count => format!("{count} channels"),
    }));
    parts.extend(
        track
            .obstacle
            .iter()
            .map(|why| format!("cannot be decoded: {why}")),
    );
    parts.join(", ")
}
