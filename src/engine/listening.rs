//! A recording in parts, as it is heard: each ends in a pause, and can be transcribed while the next is read.

use std::sync::mpsc::SyncSender;

use crate::audio::{AudioInfo, AudioStream};
use crate::batcher::Cancel;
use crate::dims::{HOP_LENGTH, SAMPLE_RATE};
use crate::error::{Error, Result};
use crate::mel::{LogMel, MelExtractor};
use crate::vad::{CHUNK, Detector, Heard};

/// The first part is at least this long, so that its text is soon there, in chunks.
const FIRST_CHUNKS: usize = 30 * SAMPLE_RATE / CHUNK;
/// Below this probability it is a pause: where speech ends by default.
const SILENCE_BELOW: f32 = 0.35;
/// After a pause of this length a part ends at once, in chunks: 2 s, from where on silence is left out by default.
const LONG_PAUSE: usize = 2 * SAMPLE_RATE / CHUNK;
/// Parts begin at multiples of this, which are whole frames too.
const CHUNKS_OF_WHOLE_FRAMES: usize = 5;

/// A part of a recording.
pub(super) struct Part {
    /// Mel frame of the recording at which it begins.
    pub at_frames: usize,
    pub mel: LogMel,
    pub heard: Heard,
    /// Whether the recording ends with it.
    pub is_last: bool,
}

/// Where parts end. A part is at least as long as all before it together, up to a bound, and at most twice that. It ends in
/// its first long pause; if there is none, in its longest; if there is none at all, where speech is least probable.
#[derive(Clone, Debug)]
struct Division {
    /// Chunks of the recording between which the part may end.
    earliest: usize,
    latest: usize,
    /// The next chunk.
    next: usize,
    /// Since when it is silent, if it is.
    quiet: Option<usize>,
    /// The longest pause so far: how long it is, and its middle.
    longest: (usize, usize),
    /// The least probability so far, and where it is.
    least: (f32, usize),
}

impl Division {
    /// For the part that begins at a chunk.
    fn new(at: usize, most_chunks: usize) -> Self {
        let length = at.clamp(FIRST_CHUNKS, most_chunks);
        Self {
            earliest: at + length,
            latest: at + length.saturating_mul(2),
            next: at,
            quiet: None,
            longest: (0, 0),
            least: (f32::INFINITY, 0),
        }
    }

    /// Takes the next chunk's probability of speech; where the part ends, once that is known.
    fn step(&mut self, probability: f32) -> Option<usize> {
        let chunk = self.next;
        self.next += 1;
        if chunk < self.earliest {
            return None;
        }
        if probability < self.least.0 {
            self.least = (probability, chunk);
        }
        if probability >= SILENCE_BELOW {
            self.quiet = None;
        } else {
            let start = *self.quiet.get_or_insert(chunk);
            let length = chunk + 1 - start;
            if length >= self.longest.0 {
                self.longest = (length, start + length / 2);
            }
        }
        let ends = self.longest.0 >= LONG_PAUSE || chunk >= self.latest;
        let (_, place) = match self.longest {
            (0, _) => (0, self.least.1),
            longest => longest,
        };
        ends.then_some(place - place % CHUNKS_OF_WHOLE_FRAMES)
    }
}

/// Hears a recording and divides it.
pub(super) struct Listener {
    mel: MelExtractor,
    detector: Detector,
    division: Division,
    /// Chunk at which the next part begins.
    at: usize,
    /// A part that may end later than this many chunks ends earlier.
    most_chunks: usize,
}

impl Listener {
    /// `longest_s` is how long a part may be before its next long pause ends it.
    pub fn new(n_mels: usize, detector: Detector, longest_s: Option<usize>) -> Self {
        let most_chunks = longest_s.map_or(usize::MAX, |s| s * SAMPLE_RATE / CHUNK);
        Self {
            mel: MelExtractor::new(n_mels),
            detector,
            division: Division::new(0, most_chunks),
            at: 0,
            most_chunks,
        }
    }

    /// Hears a stream to its end, and hands on its parts. What is known of the recording in the end; nothing more is
    /// heard once nobody takes parts.
    ///
    /// # Errors
    /// What ends the stream; [`Error::Cancelled`]; [`Error::Temporary`].
    pub fn listen(
        mut self,
        mut stream: AudioStream,
        cancel: &Cancel,
        parts: &SyncSender<Part>,
    ) -> Result<AudioInfo> {
        while let Some(samples) = stream.next_block()? {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            self.push(samples)?;
            while let Some(part) = self.next_part() {
                if parts.send(part).is_err() {
                    return Ok(stream.into_info());
                }
            }
        }
        // Whoever would hear of the last part may be gone.
        let _ = parts.send(self.last_part());
        Ok(stream.into_info())
    }

    fn push(&mut self, samples: &[f32]) -> Result<()> {
        self.mel.push(samples);
        self.mel.spill(None)?;
        self.detector.push(samples);
        Ok(())
    }

    /// The next part, once it is known where it ends.
    fn next_part(&mut self) -> Option<Part> {
        let probabilities = self.detector.probabilities();
        let new = &probabilities[self.division.next..];
        let end = new.iter().find_map(|p| self.division.step(*p))?;
        let heard = Heard {
            probabilities: probabilities[self.at..end].to_vec(),
            samples: (end - self.at) * CHUNK,
        };
        let part = Part {
            at_frames: frames(self.at),
            mel: self.mel.first(frames(end) - frames(self.at)),
            heard,
            is_last: false,
        };
        self.at = end;
        self.division = Division::new(end, self.most_chunks);
        Some(part)
    }

    fn last_part(self) -> Part {
        let mut heard = self.detector.finish();
        heard.probabilities.drain(..self.at);
        heard.samples -= self.at * CHUNK;
        Part {
            at_frames: frames(self.at),
            mel: self.mel.finish(),
            heard,
            is_last: true,
        }
    }
}

fn frames(chunks: usize) -> usize {
    chunks * CHUNK / HOP_LENGTH
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::audio::{Input, open};
    use crate::mel;

    /// Chunks of ten minutes of speech, with pauses: where, how long.
    fn speech(pauses: &[(usize, usize)]) -> Vec<f32> {
        let mut probabilities = vec![0.9; 600 * SAMPLE_RATE / CHUNK];
        for (start, length) in pauses {
            probabilities[*start..start + length].fill(0.1);
        }
        probabilities
    }

    fn first_end(probabilities: &[f32], at: usize) -> Option<usize> {
        let mut division = Division::new(at, 9000);
        let end = probabilities[at..].iter().find_map(|p| division.step(*p));
        end.inspect(|end| assert_eq!(end % CHUNKS_OF_WHOLE_FRAMES, 0))
    }

    #[test]
    fn parts_end_in_pauses() {
        // Pauses, where the part begins, where it ends.
        type Case<'a> = (&'a [(usize, usize)], usize, Option<usize>);
        let cases: [Case<'_>; 7] = [
            // Too early, then short, then long.
            (&[(500, 200), (1000, 30), (1200, 90)], 0, Some(1230)),
            // No long one: the longest, of equal ones the last.
            (&[(1000, 20), (1300, 40), (1500, 40)], 0, Some(1520)),
            (&[(900, 70)], 0, Some(950)),
            // Later parts are longer.
            (&[(2500, 80), (4100, 80)], 2000, Some(4130)),
            (&[(3500, 80)], 2000, Some(5995)),
            // The end of the recording comes first.
            (&[], 10_000, None),
            (&[(9000, 1)], 4000, Some(9000)),
        ];
        for (pauses, at, end) in cases {
            let mut probabilities = speech(pauses);
            if pauses == [(3500, 80)] {
                // Nobody pauses: where it is most likely.
                probabilities[5998] = 0.4;
            }
            assert_eq!(first_end(&probabilities, at), end, "{pauses:?} from {at}");
        }
    }

    fn heard_in_blocks(samples: &[f32], block: usize) -> Vec<Part> {
        let detector = Detector::new(None).unwrap();
        let mut listener = Listener::new(80, detector, Some(60));
        let mut parts = Vec::new();
        for block in samples.chunks(block) {
            listener.push(block).unwrap();
            parts.extend(std::iter::from_fn(|| listener.next_part()));
        }
        parts.push(listener.last_part());
        parts
    }

    /// A hundred and fifty seconds of a voice, with silence between what it says.
    fn talk() -> Vec<f32> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/audio/fr_bonjour_monde.wav"
        );
        let mut said = open(Input::from(path), &crate::audio::Limits::default()).unwrap();
        let mut said = said.read_to_end().unwrap();
        said.extend(vec![0.0; 3 * SAMPLE_RATE]);
        said.iter()
            .copied()
            .cycle()
            .take(150 * SAMPLE_RATE + 77)
            .collect()
    }

    #[test]
    fn parts_are_the_recording_however_it_comes() {
        let samples = talk();
        let parts = heard_in_blocks(&samples, 1000);
        let frames: Vec<_> = parts.iter().map(|part| part.mel.content_frames()).collect();
        assert!(parts.len() >= 3, "{frames:?}");
        assert!(parts[0].at_frames == 0 && frames[0] >= 2990, "{frames:?}");
        let mut whole = mel::MelExtractor::new(80);
        whole.push(&samples);
        let whole = whole.finish();
        assert_eq!(frames.iter().sum::<usize>(), whole.content_frames());
        let mut all = Detector::new(None).unwrap();
        all.push(&samples);
        let all = all.finish();
        for (part, next) in parts.iter().zip(parts.iter().skip(1)) {
            assert_eq!(part.at_frames + part.mel.content_frames(), next.at_frames);
        }
        let probabilities: Vec<f32> = parts
            .iter()
            .flat_map(|part| part.heard.probabilities.iter().copied())
            .collect();
        assert_eq!(probabilities, all.probabilities);
        for part in &parts {
            let own = part.at_frames..part.at_frames + part.mel.content_frames();
            let all = 0..own.len();
            let kept = whole.clone().keep(std::slice::from_ref(&own)).unwrap();
            let mel = part.mel.clone().keep(std::slice::from_ref(&all)).unwrap();
            assert!(mel.window(0).unwrap() == kept.window(0).unwrap(), "{own:?}");
        }
        let places = |parts: &[Part]| -> Vec<_> {
            let place = |part: &Part| (part.at_frames, part.heard.samples, part.is_last);
            parts.iter().map(place).collect()
        };
        let others = [37, 16_384, samples.len()].map(|block| heard_in_blocks(&samples, block));
        assert!(others.iter().all(|other| places(other) == places(&parts)));
    }

    #[test]
    fn nobody_listens_for_longer_than_parts_are_taken() {
        let detector = Detector::new(None).unwrap();
        let listener = Listener::new(80, detector, Some(60));
        let stream = open(Input::samples(talk(), 16_000), &Default::default()).unwrap();
        let (sender, parts) = sync_channel(0);
        let listening =
            std::thread::spawn(move || listener.listen(stream, &Cancel::default(), &sender));
        assert!(!parts.recv().unwrap().is_last);
        drop(parts);
        let info = listening.join().unwrap().unwrap();
        assert!(info.samples < 149 * SAMPLE_RATE, "{}", info.samples);
    }
}
