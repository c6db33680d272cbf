//! Which backend serves each of the three roles: asked once, at load.
//!
//! Two stages, kept apart. The selector says what vLLM would use ([`answers`]); then the registry
//! says whether there is a kernel here ([`plan`]). A name that was asked for is used or is an
//! error; nothing is swapped silently. An error lists every role, so that one run shows all.

use std::sync::Arc;

use super::capability;
use super::encoder;
use super::env;
use super::names::{BackendName, Requested, RequestedBackends};
use super::objections;
use super::query::{AttentionQuery, Dtype, Flags, Machine, ModelKind, Platform, Role};
use super::rule_set::RuleSet;
use super::select::{LogLine, Refusal, Selection, select};
use crate::attention::{AttentionBackend, Registry};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

/// What to plan for, but for the network and the kernels at hand: whose rules, which machine, what
/// was asked for. The default asks for nothing on this machine's CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which of vLLM's rules.
    pub rules: RuleSet,
    /// The machine, real or made up.
    pub machine: Machine,
    /// `--attention-backend`, as typed.
    pub backend: Option<String>,
    /// Every `--attention-backend-for KIND=NAME`, as typed.
    pub backend_for: Vec<String>,
    /// What attention is asked to work in; `None` is the platform's: 32-bit floats
    /// on the CPU, 16-bit ones on a GPU.
    pub dtype: Option<Dtype>,
    /// Width of a head; `None` is the model's.
    pub head_size: Option<usize>,
    /// vLLM's name of the cache's type.
    pub kv_cache_dtype: String,
    /// Tokens in a block of the cache, where the user gave it.
    pub block_size: Option<usize>,
    /// What kind of model the rules are asked about: Whisper has cross-attention.
    pub model: ModelKind,
    /// The model-wide yes-or-no inputs.
    pub flags: Flags,
    /// Whether cross-attention's weights will be asked for (word timing).
    pub weights: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            rules: RuleSet::default(),
            machine: Machine::default(),
            backend: None,
            backend_for: Vec::new(),
            dtype: None,
            head_size: None,
            kv_cache_dtype: "auto".to_owned(),
            block_size: None,
            model: ModelKind::EncoderDecoder,
            flags: Flags::default(),
            weights: false,
        }
    }
}

/// What attention works in where nobody says: float32 on the CPU, float16 on a simulated GPU,
/// as vLLM loads Whisper there.
#[must_use]
pub fn default_dtype(platform: Platform) -> Dtype {
    match platform {
        Platform::Cpu => Dtype::F32,
        Platform::Rocm | Platform::Cuda => Dtype::F16,
    }
}

/// The first stage's answer for one role.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The role.
    pub role: Role,
    /// What it asks of a backend.
    pub query: AttentionQuery,
    /// What vLLM would answer.
    pub vllm: std::result::Result<Selection, Refusal>,
    /// The name that this engine goes on with instead: one that vLLM doesn't know, or, on the CPU,
    /// the one that was asked for (vLLM logs that it cannot, and ignores it).
    pub instead: Option<String>,
    /// What vLLM would log.
    pub log: Vec<LogLine>,
}

impl Answer {
    /// The backend to look for here.
    ///
    /// # Errors
    /// vLLM's refusal.
    pub fn name(&self) -> std::result::Result<&str, &Refusal> {
        match (&self.instead, &self.vllm) {
            (Some(name), _) => Ok(name),
            (None, Ok(selection)) => Ok(selection.chosen.as_str()),
            (None, Err(refusal)) => Err(refusal),
        }
    }
}

/// Who serves each role, and how that was decided.
#[derive(Clone)]
pub struct Plan {
    backends: [Arc<dyn AttentionBackend>; 3],
    answers: [Answer; 3],
    log: Vec<LogLine>,
    note: Option<String>,
}

impl Plan {
    /// Serves the encoder's self-attention.
    #[must_use]
    pub fn encoder(&self) -> &dyn AttentionBackend {
        self.backend(Role::Encoder)
    }

    /// Serves the decoder's self-attention.
    #[must_use]
    pub fn decoder(&self) -> &dyn AttentionBackend {
        self.backend(Role::DecoderSelf)
    }

    /// Serves cross-attention.
    #[must_use]
    pub fn cross(&self) -> &dyn AttentionBackend {
        self.backend(Role::DecoderCross)
    }

    /// Serves a role.
    #[must_use]
    pub fn backend(&self, role: Role) -> &dyn AttentionBackend {
        self.backends[role as usize].as_ref()
    }

    /// The name of what serves a role, and behind it the kernels that compute it where those have another:
    /// `ROCM_AITER_UNIFIED_ATTN (HIP_PLAIN)`.
    #[must_use]
    pub fn served_by(&self, role: Role) -> String {
        let backend = self.backend(role);
        match (backend.name(), backend.kernels()) {
            (name, kernels) if name == kernels => name.to_owned(),
            (name, kernels) => format!("{name} ({kernels})"),
        }
    }

    /// The first stage's answers, in the order of [`Role::ALL`].
    #[must_use]
    pub fn answers(&self) -> &[Answer; 3] {
        &self.answers
    }

    /// What vLLM would log at load.
    #[must_use]
    pub fn log(&self) -> &[LogLine] {
        &self.log
    }

    /// Where backends were chosen as on a GPU machine: one line that says so, and who computes.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

/// The first stage: what vLLM would use for each role, in the order of [`Role::ALL`], and what it
/// would log at import.
///
/// # Errors
/// [`Error::Attention`] where vLLM would not even start: the variables that say which GPUs are
/// visible contradict each other; [`Error::Option`] for `VLLM_BATCH_INVARIANT` that is no number.
/// A refused role is no error here.
pub fn answers(
    request: &Request,
    registry: &Registry,
    dims: &ModelDimensions,
) -> Result<([Answer; 3], Vec<LogLine>)> {
    let (rules, machine) = (request.rules, &request.machine);
    let mut log = Vec::new();
    if machine.platform == Platform::Rocm {
        let visibility = env::sync_visibility(rules, machine);
        log.extend(
            visibility
                .warning
                .map(|text| LogLine::warning(text.to_owned())),
        );
        visibility.outcome.map_err(Error::Attention)?;
    }
    let mut flags = request.flags;
    if rules == RuleSet::August2026 {
        flags.batch_invariant |= env::batch_invariant(machine)?;
    }
    let (names, backend) = (registry.names(), request.backend.as_deref());
    let asked = RequestedBackends::parse(rules, backend, &request.backend_for, &names)?;
    let answers = Role::ALL.map(|role| {
        let query = query(request, role, dims, flags);
        answer(request, registry, &asked, role, query)
    });
    log.extend(answers.iter().flat_map(|a| a.log.iter().cloned()));
    Ok((answers, log))
}

fn query(request: &Request, role: Role, dims: &ModelDimensions, flags: Flags) -> AttentionQuery {
    let (width, heads) = match role {
        Role::Encoder => (dims.n_audio_state, dims.n_audio_head),
        Role::DecoderSelf | Role::DecoderCross => (dims.n_text_state, dims.n_text_head),
    };
    let head_size = request.head_size.unwrap_or(width / heads.max(1));
    let dtype = request
        .dtype
        .unwrap_or_else(|| default_dtype(request.machine.platform));
    AttentionQuery {
        kv_cache_dtype: request.kv_cache_dtype.clone(),
        block_size: request.block_size,
        flags,
        weights: request.weights && role == Role::DecoderCross,
        ..AttentionQuery::new(role.attn_type(), head_size, dtype)
    }
}

fn answer(
    request: &Request,
    registry: &Registry,
    asked: &RequestedBackends,
    role: Role,
    query: AttentionQuery,
) -> Answer {
    let (rules, machine) = (request.rules, &request.machine);
    let on_cpu = machine.platform == Platform::Cpu;
    let asked = match role {
        _ if on_cpu => asked.for_role(role, &query),
        Role::Encoder => asked.for_encoder(),
        Role::DecoderSelf | Role::DecoderCross => asked.for_layer(&query),
    };
    let known = asked.and_then(|asked| match asked {
        Requested::Vllm(name) => Some(*name),
        Requested::Own(_) => None,
    });
    let vllm = match role {
        Role::Encoder => encoder::select_encoder(rules, machine, known, &query),
        Role::DecoderSelf | Role::DecoderCross => {
            select(rules, machine, request.model, known, &query)
        }
    };
    let log = match (&vllm, role) {
        (Err(_), _) => Vec::new(),
        (Ok(selection), Role::Encoder) => encoder::log(selection, machine),
        (Ok(selection), _) => selection.log(rules, machine, &query),
    };
    let instead = match asked {
        Some(Requested::Own(name)) => Some(name.clone()),
        Some(Requested::Vllm(name)) => {
            is_ours_to_judge(request, registry, *name).then(|| name.to_string())
        }
        None if on_cpu => preferred(registry, &query),
        None => None,
    };
    Answer {
        role,
        query,
        vllm,
        instead,
        log,
    }
}

/// Whether a name that vLLM knows is this engine's to judge: every name on the CPU, and elsewhere
/// one that vLLM's platform has no rules for (`CPU_ATTN`, `CUSTOM`) while a kernel has that name.
fn is_ours_to_judge(request: &Request, registry: &Registry, name: BackendName) -> bool {
    let platform = request.machine.platform;
    let kernel = registry
        .names()
        .iter()
        .any(|n| n.eq_ignore_ascii_case(name.as_str()));
    let judged_by_vllm = capability::row(request.rules, platform, name).is_some();
    platform == Platform::Cpu || (kernel && !judged_by_vllm)
}

/// Auto's choice on the CPU: the first kernel without objections.
fn preferred(registry: &Registry, query: &AttentionQuery) -> Option<String> {
    registry
        .iter()
        .find(|b| b.objections(query).is_empty())
        .map(|b| b.name().to_owned())
}

/// Both stages: the backend of every role, or why not.
///
/// # Errors
/// [`Error::Attention`] listing every role: refusals in vLLM's words, a choice without a kernel
/// here together with the names that have one, a kernel's own objections. [`Error::Option`] naming a
/// part of the request that cannot be read.
pub fn plan(request: &Request, registry: &Registry, dims: &ModelDimensions) -> Result<Plan> {
    let (answers, log) = answers(request, registry, dims)?;
    if answers.iter().any(|a| a.name().is_err()) {
        return Err(Error::Attention(refused_text(request, &answers)));
    }
    let kernels: Vec<Arc<dyn AttentionBackend>> = answers
        .iter()
        .filter_map(|a| kernel(registry, a).ok())
        .collect();
    let Ok(backends) = <[Arc<dyn AttentionBackend>; 3]>::try_from(kernels) else {
        return Err(Error::Attention(no_kernel_text(
            request, registry, &answers,
        )));
    };
    let simulated = request.machine.platform != Platform::Cpu;
    let answering = backends.iter().find(|b| b.name() != b.kernels());
    let note = simulated.then(|| {
        let who = match answering {
            Some(backend) => format!("{} computes", backend.kernels()),
            None => "the CPU computes".to_owned(),
        };
        let machine = machine_text(request);
        format!("attention backends are those of {machine}; {who} them")
    });
    Ok(Plan {
        backends,
        answers,
        log,
        note,
    })
}

/// The second stage for one role.
///
/// # Errors
/// The reason in words: vLLM's refusal, no kernel of that name, or the kernel's objections.
pub fn kernel(
    registry: &Registry,
    answer: &Answer,
) -> std::result::Result<Arc<dyn AttentionBackend>, String> {
    let name = answer.name().map_err(ToString::to_string)?;
    let backend = registry
        .kernel_for(name)
        .ok_or_else(|| format!("{name} has no kernel in this build"))?;
    let objections = backend.objections(&answer.query);
    if objections.is_empty() {
        let fitted = backend.for_query(&answer.query);
        return Ok(fitted.unwrap_or_else(|| Arc::clone(backend)));
    }
    Err(format!(
        "{}'s kernel cannot: {}",
        backend.name(),
        objections::bare(&objections)
    ))
}

fn refused_text(request: &Request, answers: &[Answer]) -> String {
    let mut text = format!("no attention backend for {}:", machine_text(request));
    for answer in answers {
        text += &match answer.name() {
            Err(refusal) => format!("\n  - {}: {refusal}", answer.role),
            Ok(name) => format!("\n  - {}: {name}{}", answer.role, rejections_text(answer)),
        };
    }
    text
}

fn no_kernel_text(request: &Request, registry: &Registry, answers: &[Answer]) -> String {
    let mut text = format!(
        "no kernel here for what {} would use:",
        machine_text(request)
    );
    for answer in answers {
        text += &match kernel(registry, answer) {
            Ok(backend) => format!("\n  - {}: {}", answer.role, backend.name()),
            Err(reason) => {
                format!("\n  - {}: {reason}{}", answer.role, rejections_text(answer))
            }
        };
    }
    text + "\nnames that have a kernel: " + &registry.names_text()
}

fn rejections_text(answer: &Answer) -> String {
    let Ok(selection) = &answer.vllm else {
        return String::new();
    };
    let entries: Vec<String> = selection
        .rejected
        .iter()
        .map(|(backend, reasons)| format!("{backend}: {}", objections::bare(reasons)))
        .collect();
    if entries.is_empty() {
        String::new()
    } else {
        format!(" (rejected: {})", entries.join(", "))
    }
}

fn machine_text(request: &Request) -> String {
    let mut text = request.machine.platform.name().to_owned();
    if let Some(arch) = &request.machine.arch {
        text += " ";
        text += arch;
    }
    text + " under rule set " + request.rules.name()
}

/// The block size that vLLM would settle on: the user's, else what decoder self-attention's
/// backend prefers.
#[must_use]
pub fn block_size(request: &Request, decoder_self: &Answer) -> Option<usize> {
    let chosen = decoder_self.vllm.as_ref().ok()?.chosen;
    let row = capability::row(request.rules, request.machine.platform, chosen)?;
    Some(request.block_size.unwrap_or(row.preferred_block_size))
}
