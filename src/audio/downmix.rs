//! Any channel layout to mono, with the gains of ffmpeg's swresample.

use symphonia::core::audio::{ChannelLabel, Channels, Position};

/// Gain of a side of a pair at the front before normalisation: 1/√2.
const FRONT: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// Gain of the centre: it is the mono channel itself.
const CENTRE: f32 = 1.0;
/// Gain of a surround channel: 1/√2 for the surround level, 1/√2 for the fold to the centre.
const SURROUND: f32 = 0.5;

/// What swresample's automatic matrix gives each position on the way to mono; the rest, the LFE
/// among them, is dropped.
const GAINS: [(Position, f32); 10] = [
    (Position::FRONT_LEFT, FRONT),
    (Position::FRONT_RIGHT, FRONT),
    (Position::FRONT_CENTER, CENTRE),
    (Position::REAR_LEFT, SURROUND),
    (Position::REAR_RIGHT, SURROUND),
    (Position::FRONT_LEFT_CENTER, FRONT),
    (Position::FRONT_RIGHT_CENTER, FRONT),
    (Position::REAR_CENTER, SURROUND),
    (Position::SIDE_LEFT, SURROUND),
    (Position::SIDE_RIGHT, SURROUND),
];

/// Layouts that ffmpeg assumes for 1 to 8 channels of unknown position.
const DEFAULT_LAYOUTS: [&[Position]; 8] = {
    use Position as P;
    [
        &[P::FRONT_CENTER],
        &[P::FRONT_LEFT, P::FRONT_RIGHT],
        &[P::FRONT_LEFT, P::FRONT_RIGHT, P::LFE1],
        &[
            P::FRONT_LEFT,
            P::FRONT_RIGHT,
            P::FRONT_CENTER,
            P::REAR_CENTER,
        ],
        &[
            P::FRONT_LEFT,
            P::FRONT_RIGHT,
            P::FRONT_CENTER,
            P::REAR_LEFT,
            P::REAR_RIGHT,
        ],
        &[
            P::FRONT_LEFT,
            P::FRONT_RIGHT,
            P::FRONT_CENTER,
            P::LFE1,
            P::REAR_LEFT,
            P::REAR_RIGHT,
        ],
        &[
            P::FRONT_LEFT,
            P::FRONT_RIGHT,
            P::FRONT_CENTER,
            P::LFE1,
            P::REAR_CENTER,
            P::SIDE_LEFT,
            P::SIDE_RIGHT,
        ],
        &[
            P::FRONT_LEFT,
            P::FRONT_RIGHT,
            P::FRONT_CENTER,
            P::LFE1,
            P::REAR_LEFT,
            P::REAR_RIGHT,
            P::SIDE_LEFT,
            P::SIDE_RIGHT,
        ],
    ]
};

/// The gain of every channel of a layout; they sum to at most 1, so that nothing clips.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Downmix {
    gains: Vec<f32>,
}

impl Downmix {
    /// The fold for `channels`; layouts without named positions are averaged.
    pub(super) fn new(channels: &Channels) -> Self {
        let count = channels.count();
        let mut gains: Vec<f32> = match channels {
            Channels::Positioned(positions) => positions.iter().map(gain).collect(),
            Channels::Custom(labels) => labels.iter().map(label_gain).collect(),
            Channels::Discrete(_) if (1..=DEFAULT_LAYOUTS.len()).contains(&count) => {
                DEFAULT_LAYOUTS[count - 1]
                    .iter()
                    .map(|&position| gain(position))
                    .collect()
            }
            _ => vec![1.0; count],
        };
        let sum: f32 = gains.iter().sum();
        if count == 1 || sum == 0.0 {
            gains = vec![1.0 / count as f32; count];
        } else if sum > 1.0 {
            gains.iter_mut().for_each(|gain| *gain /= sum);
        }
        Self { gains }
    }

    /// Appends the mono fold of interleaved `frames` to `mono`.
    pub(super) fn fold(&self, frames: &[f32], mono: &mut Vec<f32>) {
        match self.gains.as_slice() {
            [_] => mono.extend_from_slice(frames),
            [left, right] => {
                mono.extend(frames.chunks_exact(2).map(|f| f[0] * left + f[1] * right));
            }
            gains => mono.extend(frames.chunks_exact(gains.len()).map(|frame| {
                frame
                    .iter()
                    .zip(gains)
                    .map(|(x, gain)| x * gain)
                    .sum::<f32>()
            })),
        }
    }
    /// Hands the mono fold of 16-bit channels, given apart, to `put`, computed in the fixed point
    /// that swresample uses.
    pub(super) fn fold_planes(&self, planes: &[&[i16]], mut put: impl FnMut(i16)) {
        const HALF: i32 = 1 << 14;
        let whole = |gain: &f32| (gain * 32_768.0).round_ties_even() as i32;
        let gains: Vec<i32> = self.gains.iter().map(whole).collect();
        match planes {
            [mono] => mono.iter().for_each(|&x| put(x)),
            [left, right] if gains.len() == 2 => {
                for (&l, &r) in left.iter().zip(*right) {
                    put(((i32::from(l) * gains[0] + i32::from(r) * gains[1] + HALF) >> 15) as i16);
                }
            }
            planes => {
                for at in 0..planes.first().map_or(0, |plane| plane.len()) {
                    let terms = planes
                        .iter()
                        .zip(&gains)
                        .map(|(p, gain)| i32::from(p[at]) * gain);
                    let sum = terms.fold(HALF, i32::wrapping_add) >> 15;
                    put(sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16);
                }
            }
        }
    }
}

fn gain(position: Position) -> f32 {
    GAINS
        .iter()
        .find(|(known, _)| *known == position)
        .map_or(0.0, |(_, gain)| *gain)
}

fn label_gain(label: &ChannelLabel) -> f32 {
    match label {
        ChannelLabel::Positioned(position) => gain(*position),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_follow_swresample() {
        let p51 = Position::FRONT_LEFT
            | Position::FRONT_RIGHT
            | Position::FRONT_CENTER
            | Position::LFE1
            | Position::REAR_LEFT
            | Position::REAR_RIGHT;
        let norm = 2.0 * FRONT + 2.0;
        let surround = vec![
            FRONT / norm,
            FRONT / norm,
            1.0 / norm,
            0.0,
            0.5 / norm,
            0.5 / norm,
        ];
        let cases = [
            (
                "mono",
                Channels::Positioned(Position::FRONT_CENTER),
                vec![1.0],
            ),
            (
                "one speaker",
                Channels::Positioned(Position::FRONT_LEFT),
                vec![1.0],
            ),
            ("stereo", Channels::Discrete(2), vec![0.5, 0.5]),
            ("2.1", Channels::Discrete(3), vec![0.5, 0.5, 0.0]),
            ("5.1", Channels::Positioned(p51), surround.clone()),
            ("six channels", Channels::Discrete(6), surround),
            ("ten channels", Channels::Discrete(10), vec![0.1; 10]),
            (
                "centre first",
                Channels::Custom(
                    [Position::FRONT_CENTER, Position::LFE1, Position::REAR_LEFT]
                        .map(ChannelLabel::Positioned)
                        .into(),
                ),
                vec![2.0 / 3.0, 0.0, 1.0 / 3.0],
            ),
        ];
        let mut failures = Vec::new();
        for (name, channels, expected) in cases {
            let gains = Downmix::new(&channels).gains;
            let is_close = gains.len() == expected.len()
                && gains
                    .iter()
                    .zip(&expected)
                    .all(|(a, b)| (a - b).abs() < 1e-6);
            if !is_close {
                failures.push(format!("{name}: {gains:?} instead of {expected:?}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn folds_interleaved_frames() {
        let mut mono = vec![9.0];
        Downmix::new(&Channels::Discrete(2)).fold(&[1.0, 0.0, 0.5, 0.5], &mut mono);
        assert_eq!(mono, [9.0, 0.5, 0.5]);
        let mut whole = Vec::new();
        let (left, right): (&[i16], &[i16]) = (&[3, -3, i16::MIN], &[0, 0, i16::MIN]);
        Downmix::new(&Channels::Discrete(2)).fold_planes(&[left, right], |x| whole.push(x));
        assert_eq!(whole, [2, -1, -32_768]);
    }
}
