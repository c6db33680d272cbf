//! Cross-attention weights against those of plain attention, kept as it is called.

use std::sync::{Arc, Mutex};

use undertone::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, Kv, Objection,
};
use undertone::internals::attention::Naive;

use super::executors::{HEADS, LAYERS, POSITIONS, PROMPT, encoded, executors, fed};
use crate::support::largest_error;

/// The plain backend, which keeps the weights that a decoder's queries have on the audio.
#[derive(Default)]
struct Recording {
    plain: Naive,
    /// In order of the calls, `(heads, queries, positions)` of each row.
    rows: Mutex<Vec<Vec<f32>>>,
}

impl AttentionBackend for Recording {
    fn name(&self) -> &str {
        "RECORDING"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        self.plain.objections(query)
    }

    fn attend(&self, call: &AttentionCall<'_>) -> undertone::Result<Attended> {
        let encoder = call.queries.dim(0)? == POSITIONS;
        if call.causal || encoder {
            return self.plain.attend(call);
        }
        let attended = self.plain.attend(&AttentionCall {
            queries: call.queries,
            kv: match &call.kv {
                Kv::Dense { k, v } => Kv::Dense { k, v },
                Kv::Growing(rows) => Kv::Growing(rows),
                Kv::Cross(rows) => Kv::Cross(rows),
            },
            weights: true,
            ..*call
        })?;
        for row in attended.weights.iter().flatten() {
            self.rows
                .lock()
                .unwrap()
                .push(row.flatten_all()?.to_vec1()?);
        }
        Ok(attended)
    }
}

#[test]
fn cross_weights_are_those_that_plain_attention_has() {
    const WATCHED: [(usize, usize); 4] = [(1, 3), (0, 0), (1, 0), (0, 2)];
    let (_folder, executors) = executors();
    for executor in &executors {
        let recording = Arc::new(Recording::default());
        let (network, name) = (&*executor.network_with(recording.clone()), executor.name);
        let audio = encoded(network, 3);
        let mut text = network.text_state(2).unwrap();
        text.watch(&WATCHED);
        // The prompt, then two beams, of which the second is continued by both.
        fed(network, &audio, &mut text, &PROMPT, 1).unwrap();
        fed(network, &audio, &mut text, &[20, 21], 2).unwrap();
        text.reorder(&[1, 1]);
        fed(network, &audio, &mut text, &[30, 31], 2).unwrap();
        let rows = std::mem::take(&mut *recording.rows.lock().unwrap());
        assert_eq!(rows.len(), LAYERS * (1 + 2 + 2), "{name}");
        for beam in 0..2 {
            let got = network
                .cross_weights(&audio, &text, beam, vec![7.0; 9])
                .unwrap();
            assert_eq!(
                (&got.heads[..], got.tokens, got.positions),
                (&WATCHED[..], 7, POSITIONS),
                "{name}"
            );
            let mut want = Vec::new();
            for (layer, head) in WATCHED {
                let row = |start: usize, rows_a_layer: usize, row: usize, queries: usize| {
                    let weights = &rows[start + layer * rows_a_layer + row];
                    assert_eq!(weights.len(), HEADS * queries * POSITIONS, "{name}");
                    weights[head * queries * POSITIONS..][..queries * POSITIONS].to_vec()
                };
                want.extend(row(0, 1, 0, PROMPT.len()));
                want.extend(row(LAYERS, 2, 1, 1));
                want.extend(row(3 * LAYERS, 2, beam, 1));
            }
            let error = largest_error(&got.weights, &want);
            assert!(error <= 1e-5, "{name}: beam {beam}: {error}");
            let sums = got
                .weights
                .chunks(POSITIONS)
                .map(|token| token.iter().sum::<f32>());
            let off: Vec<f32> = sums.filter(|sum| (sum - 1.0).abs() > 1e-5).collect();
            assert!(off.is_empty(), "{name}: {off:?}");
        }
    }
}
