//! `attention compare`: one window through every backend that computes.
//!
//! Each backend serves the roles that it can and `CPU_ATTN` the others. Its calls are done again by
//! `NAIVE` in f64 on the same inputs, unrounded, so the error of a backend that works in float16 is that
//! of its numbers too.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::args::CompareArgs;
use super::loading::load;
use super::progress::Screen;
use super::{FINE, resolve};
use crate::attention::backends::{Naive, built_in};
use crate::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, Dtype, Objection, Request, Role,
};
use crate::audio::{self, Limits};
use crate::batcher::{Cancel, Capacity, WindowJob};
use crate::decoding::DecodingResult;
use crate::dims::{ModelDimensions, N_SAMPLES};
use crate::engine::Engine;
use crate::mel;
use crate::options::{DecodingOptions, Gates};

/// The backend that all others are set beside, and that serves what they can't.
const REFERENCE: &str = "CPU_ATTN";
/// Calls of a role that are judged; more would take long and say the same.
const JUDGED: [usize; 3] = [2, 48, 48];
/// The kinds of layer, in the order of [`Role::ALL`], as they are asked for by name.
const KINDS: [&str; 3] = ["encoder", "full_attention", "cross_attention"];

/// Runs the command: the table, line by line as it grows. No difference is a failure, so the code is 0.
pub fn run(args: &CompareArgs) -> Result<u8> {
    let asked = resolve::attention(&args.run.attention)?.dtype;
    super::print_notes(resolve::notes(&args.run));
    let backends = built_in(&resolve::cpu(&args.run)?);
    // In 32-bit floats whatever the engine computes in: the first of the backends, as it is judged below.
    let builder = resolve::engine(&args.run)?
        .attention(Request::default())
        .backend(backends[0].clone());
    let engine = load(&builder, &Screen::new(false))?;
    let dims = engine.network().dims().clone();
    let (job, reference) = reference(&engine, &args.audio)?;
    drop(engine);
    say!(
        "{}: one window in {}, {} tokens by {REFERENCE} in float32\n",
        args.audio.display(),
        reference.language,
        reference.tokens.len()
    );
    let columns = KINDS.map(|kind| format!("{kind:<22}")).concat();
    say!("{:<24} {:<9} {columns}tokens", "backend", "numbers");
    for backend in backends {
        let name = backend.name().to_owned();
        let dtype = match name.as_str() {
            REFERENCE | "NAIVE" => Dtype::F32,
            _ => asked.unwrap_or(Dtype::F16),
        };
        let judge = Arc::new(Judge::default());
        let request = request(backend.as_ref(), dtype, &dims);
        let judged = Judged {
            inner: backend,
            role: Role::Encoder,
            judge: judge.clone(),
        };
        let engine = resolve::engine(&args.run)?
            .attention(request)
            .backend(Arc::new(judged));
        let result = engine
            .build()?
            .batcher(Capacity::of_windows(1))?
            .decode(job.clone())?;
        let columns: String = judge
            .columns()
            .map(|column| format!("{column:<22}"))
            .concat();
        let tokens = agreement(&reference.tokens, &result.tokens);
        say!("{name:<24} {:<9} {columns}{tokens}", dtype.name());
    }
    say!("\nerror: largest difference from NAIVE in f64 over its largest value; ms: a call");
    say!("-: the backend cannot serve the role, so {REFERENCE} did");
    Ok(FINE)
}

/// The first window of a file in its language, and what the reference makes of it.
fn reference(engine: &Engine, file: &Path) -> Result<(WindowJob, DecodingResult)> {
    let mut stream = audio::open(resolve::input(file), &Limits::default())?;
    let mut samples = Vec::new();
    while samples.len() < N_SAMPLES
        && let Some(block) = stream.next_block()?
    {
        samples.extend_from_slice(block);
    }
    samples.truncate(N_SAMPLES);
    let batcher = engine.batcher(Capacity::of_windows(1))?;
    let mut job = WindowJob {
        mel: mel::log_mel_of_clip(&samples, engine.network().dims().n_mels)?,
        options: DecodingOptions::default(),
        gates: Gates {
            temperatures: vec![0.0],
            ..Gates::default()
        },
        source: 0,
        cancel: Cancel::default(),
        align: None,
        bias: None,
    };
    let language = match engine.tokenizer().is_multilingual() {
        true => batcher.detect_language(job.clone())?.best,
        false => "en".to_owned(),
    };
    job.options.language = Some(language);
    let result = batcher.decode(job.clone())?;
    Ok((job, result))
}

/// Asks for a backend wherever it can serve and for the reference elsewhere.
fn request(backend: &dyn AttentionBackend, dtype: Dtype, dims: &ModelDimensions) -> Request {
    let head_sizes = [
        dims.n_audio_state / dims.n_audio_head,
        dims.n_text_state / dims.n_text_head,
        dims.n_text_state / dims.n_text_head,
    ];
    let mut request = Request {
        dtype: Some(dtype),
        ..Request::default()
    };
    for ((role, kind), head_size) in Role::ALL.into_iter().zip(KINDS).zip(head_sizes) {
        let query = AttentionQuery::new(role.attn_type(), head_size, dtype);
        let able = backend.objections(&query).is_empty();
        let by = if able { backend.name() } else { REFERENCE };
        request.backend_for.push(format!("{kind}={by}"));
    }
    request
}

/// `same`, or from where on two lists of tokens differ.
fn agreement(want: &[u32], got: &[u32]) -> String {
    if want == got {
        return "same".to_owned();
    }
    let equal = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    format!("differ from token {equal} of {} on", want.len())
}

/// What was seen of a backend, role by role.
#[derive(Default)]
struct Judge(Mutex<[Record; 3]>);

#[derive(Clone, Copy, Default)]
struct Record {
    calls: usize,
    judged: usize,
    time_s: f64,
    error: f64,
}

impl Judge {
    /// Adds to a role's record; true while its calls are still judged.
    fn time(&self, role: Role, time_s: f64) -> bool {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let record = &mut records[role as usize];
        record.calls += 1;
        record.time_s += time_s;
        let judged = record.judged < JUDGED[role as usize];
        record.judged += usize::from(judged);
        judged
    }

    fn error(&self, role: Role, error: f64) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let record = &mut records[role as usize];
        record.error = if error.is_nan() {
            f64::INFINITY
        } else {
            record.error.max(error)
        };
    }

    /// Error and time of each role.
    fn columns(&self) -> [String; 3] {
        let records = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.map(|record| match record.calls {
            0 => "-".to_owned(),
            calls => {
                let each_ms = record.time_s * 1e3 / calls as f64;
                format!("{:.1e} {each_ms:>8.2} ms", record.error)
            }
        })
    }
}

/// A backend whose calls are timed and judged.
struct Judged {
    inner: Arc<dyn AttentionBackend>,
    role: Role,
    judge: Arc<Judge>,
}

impl AttentionBackend for Judged {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        self.inner.objections(query)
    }

    fn for_query(&self, query: &AttentionQuery) -> Option<Arc<dyn AttentionBackend>> {
        let inner = self
            .inner
            .for_query(query)
            .unwrap_or_else(|| self.inner.clone());
        let (role, judge) = (query.role(), self.judge.clone());
        Some(Arc::new(Judged { inner, role, judge }))
    }

    fn attend(&self, call: &AttentionCall<'_>) -> crate::error::Result<Attended> {
        let start = Instant::now();
        let attended = self.inner.attend(call)?;
        if self.judge.time(self.role, start.elapsed().as_secs_f64()) {
            let want = Naive::in_f64().attend(call)?.output;
            let largest = |x: Tensor| x.abs()?.max_all()?.to_scalar::<f64>();
            let difference = (attended.output.to_dtype(DType::F64)? - &want)?;
            self.judge
                .error(self.role, largest(difference)? / largest(want)?.max(1e-30));
        }
        Ok(attended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Cpu;

    #[test]
    fn lists_of_tokens_agree_or_differ_from_somewhere_on() {
        let table: [(&[u32], &[u32], &str); 4] = [
            (&[1, 2, 3], &[1, 2, 3], "same"),
            (&[1, 2, 3], &[1, 9, 3], "differ from token 1 of 3 on"),
            (&[1, 2, 3], &[1, 2], "differ from token 2 of 3 on"),
            (&[], &[1], "differ from token 0 of 0 on"),
        ];
        for (want, got, words) in table {
            assert_eq!(agreement(want, got), words);
        }
    }

    #[test]
    fn a_backend_is_asked_for_where_it_can_serve() {
        let dims = crate::weights::hub::find("base").unwrap().dims();
        let all = built_in(&Cpu::new(Some(1), None));
        let asked = |name: &str, dtype| {
            let backend = all.iter().find(|b| b.name() == name).unwrap();
            request(backend.as_ref(), dtype, &dims)
                .backend_for
                .join(" ")
        };
        assert_eq!(
            asked("ROCM_AITER_FA", Dtype::F16),
            "encoder=ROCM_AITER_FA full_attention=ROCM_AITER_FA cross_attention=CPU_ATTN"
        );
        assert_eq!(
            asked("FLASH_ATTN", Dtype::F32),
            "encoder=CPU_ATTN full_attention=CPU_ATTN cross_attention=CPU_ATTN"
        );
    }

    #[test]
    fn every_call_is_timed_and_the_first_are_judged() {
        let judge = Judge::default();
        let judged = (0..5).filter(|_| judge.time(Role::Encoder, 0.001)).count();
        judge.error(Role::Encoder, 2e-7);
        judge.error(Role::Encoder, 1e-7);
        assert_eq!(judged, JUDGED[0]);
        assert_eq!(judge.columns(), ["2.0e-7     1.00 ms", "-", "-"]);
    }
}
