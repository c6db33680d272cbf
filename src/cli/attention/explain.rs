//! `attention explain`: the answer in three lines, then what it rests on, then each role in full.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::outcome::Outcome;
use crate::attention::vllm::changes::{Change, changes};
use crate::attention::vllm::founding::{PlatformProbe, rocm_attention_config};
use crate::attention::vllm::reasons::{fails_later, unlisted};
use crate::attention::{self, Answer, Kind, LogLine, Platform, Registry, Rejection, Request, Role};
use crate::cli::{FAILED, FINE};
use crate::dims::ModelDimensions;
use crate::error::Result;

/// What is asked beside the request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The model's name on the Hub, for what vLLM's own test would ask of its server.
    pub hub_name: Option<String>,
    /// What looks like a slip in the description of the machine.
    pub slips: Vec<String>,
    /// Whether vLLM's log lines are shown.
    pub log: bool,
    /// JSON instead of text.
    pub json: bool,
}

/// Everything that is shown.
struct Explained<'a> {
    request: &'a Request,
    registry: &'a Registry,
    answers: &'a [Answer],
    log: &'a [LogLine],
    changes: Vec<Change>,
    asked: &'a Asked,
}

/// For each role the choice, the candidates in order, every other backend with its reasons, what vLLM
/// would log, and whether a kernel is here. The code is 1 where a role is refused, or vLLM would not
/// survive its own choice.
///
/// # Errors
/// Those of [`attention::answers`].
pub fn explain(
    request: &Request,
    registry: &Registry,
    dims: &ModelDimensions,
    asked: &Asked,
) -> Result<Outcome> {
    let (answers, log) = attention::answers(request, registry, dims)?;
    let explained = Explained {
        request,
        registry,
        answers: &answers,
        log: &log,
        changes: changes(request, registry, dims, &answers),
        asked,
    };
    let stands = |a: &Answer| a.name().is_ok() && explained.doom(a).is_none();
    let code = if answers.iter().all(stands) {
        FINE
    } else {
        FAILED
    };
    let text = match asked.json {
        true => format!("{:#}\n", explained.value()),
        false => explained.text(),
    };
    Ok(Outcome { text, code })
}

impl Explained<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        for slip in &self.asked.slips {
            _ = writeln!(text, "warning: {slip}");
        }
        for answer in self.answers {
            _ = writeln!(text, "{:<24} {}", answer.role, self.in_short(answer));
        }
        text += &self.header();
        if !self.changes.is_empty() {
            _ = writeln!(text, "\nThe answer would be another with");
        }
        for change in &self.changes {
            _ = writeln!(
                text,
                "  {}\n    {}",
                change.options,
                roles_text(&change.roles)
            );
        }
        if self.asked.log {
            let of_roles: usize = self.answers.iter().map(|a| a.log.len()).sum();
            for line in &self.log[..self.log.len() - of_roles] {
                _ = writeln!(text, "\nlog        {line}");
            }
        }
        for answer in self.answers {
            text += &self.answer_text(answer);
        }
        text
    }

    fn in_short(&self, answer: &Answer) -> String {
        match (answer.name(), self.doom(answer)) {
            (Err(_), _) => "refused".to_owned(),
            (Ok(name), Some(_)) => format!("{name}, which fails later"),
            (Ok(name), None) => name.to_owned(),
        }
    }

    fn header(&self) -> String {
        let (commit, change, date) = self.request.rules.commit();
        let mut text = format!(
            "\nrule set   {} (vLLM {}, {change}, {date})\nplatform   {}\n",
            self.request.rules,
            &commit[..12],
            self.platform_text()
        );
        if self.request.machine.platform == Platform::Rocm {
            let assumed = self.assumed();
            let assumed: Vec<String> = assumed.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            _ = writeln!(text, "assumed    {}", assumed.join(", "));
        }
        if let Some(size) = self.block_size() {
            _ = writeln!(text, "cache      blocks of {size} tokens");
        }
        if let Some(founding) = self.founding() {
            _ = writeln!(
                text,
                "vLLM's own test of translation would ask for {founding}"
            );
        }
        text
    }

    fn platform_text(&self) -> String {
        let machine = &self.request.machine;
        let mut text = machine.platform.name().to_owned();
        if let Some(arch) = &machine.arch {
            _ = write!(text, " {arch}");
        }
        for name in &machine.installed {
            _ = write!(text, ", {name} installed");
        }
        for (name, value) in &machine.env {
            _ = write!(text, ", {name}={value}");
        }
        text
    }

    /// What the answer rests on, given or not: a real machine's packages cannot be seen from here.
    fn assumed(&self) -> [(&'static str, String); 3] {
        const SWITCH: &str = "VLLM_ROCM_USE_AITER";
        let machine = &self.request.machine;
        let has = |module| {
            if machine.has_module(module) {
                "yes"
            } else {
                "no"
            }
        };
        [
            ("aiter", has("aiter").to_owned()),
            ("flash-attn", has("flash_attn").to_owned()),
            (SWITCH, machine.env(SWITCH).unwrap_or("unset").to_owned()),
        ]
    }

    fn block_size(&self) -> Option<usize> {
        attention::block_size(self.request, &self.answers[Role::DecoderSelf as usize])
    }

    /// What a choice that vLLM accepts dies of.
    fn doom(&self, answer: &Answer) -> Option<String> {
        let selection = answer.vllm.as_ref().ok()?;
        fails_later(&self.request.machine, selection.chosen)
    }

    /// Backends that were not looked at, those with the same reason together.
    fn unlisted(&self, answer: &Answer) -> Vec<(String, Vec<&'static str>)> {
        let Request {
            rules,
            machine,
            model,
            ..
        } = self.request;
        let is_encoder = answer.role == Role::Encoder;
        let all = unlisted(
            *rules,
            machine,
            *model,
            &answer.query,
            &answer.vllm,
            is_encoder,
        );
        let mut grouped: Vec<(String, Vec<&'static str>)> = Vec::new();
        for (backend, reason) in all {
            match grouped.iter_mut().find(|(text, _)| *text == reason) {
                Some((_, backends)) => backends.push(backend.as_str()),
                None => grouped.push((reason, vec![backend.as_str()])),
            }
        }
        grouped
    }

    fn answer_text(&self, answer: &Answer) -> String {
        let query = &answer.query;
        let mut text = format!(
            "\n{} ({}, head size {}, {})\n",
            answer.role,
            kind(answer).name(),
            query.head_size,
            query.dtype.name()
        );
        let mut line = |key: &str, value: &str| _ = writeln!(text, "  {key:<9} {value}");
        match answer.name() {
            Ok(name) => line("choice", name),
            Err(refusal) => line("refused", &refusal.to_string()),
        }
        if let Some(doom) = self.doom(answer) {
            line("fails", &doom);
        }
        match &answer.vllm {
            Ok(selection) if answer.instead.is_some() => line("vLLM", selection.chosen.as_str()),
            Err(refusal) if answer.instead.is_some() => line("vLLM", &refusal.to_string()),
            _ => {}
        }
        if let Some(candidates) = candidates(answer) {
            line("priority", &candidates.join(", "));
        }
        for (backend, reasons) in rejections(answer) {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            line("rejected", &format!("{backend}: {}", reasons.join(", ")));
        }
        for (reason, backends) in self.unlisted(answer) {
            line("unlisted", &format!("{}: {reason}", backends.join(", ")));
        }
        for logged in answer.log.iter().filter(|_| self.asked.log) {
            line("log", &logged.to_string());
        }
        match attention::kernel(self.registry, answer) {
            Ok(backend) => line("kernel", backend.name()),
            Err(reason) if answer.name().is_ok() => line("kernel", &format!("none: {reason}")),
            Err(_) => {}
        }
        if self.request.machine.platform == Platform::Cpu && answer.instead.is_some() {
            let note = "on the CPU this engine goes by its own kernels and by what is asked for";
            line("note", note);
        }
        text
    }

    /// What vLLM's test of translation would ask of its server for this model, and what it warns of; it
    /// has no opinion where the platform isn't ROCm.
    fn founding(&self) -> Option<String> {
        let name = self.asked.hub_name.as_deref()?;
        let machine = &self.request.machine;
        let probe = match (machine.platform, &machine.arch) {
            (Platform::Rocm, Some(arch)) => PlatformProbe::Arch(arch),
            (Platform::Rocm, None) => PlatformProbe::ImportError,
            _ => return None,
        };
        let config = rocm_attention_config(self.request.rules, probe, name);
        let backend = config.backend.map_or("no backend", |b| b.as_str());
        let mut text = format!("{backend} for {name}");
        if !name.to_lowercase().contains("whisper") {
            text += " (it goes by the name alone, which does not say that this is a Whisper: the \
                     first cross-attention would end it)";
        }
        if let Some(warning) = config.warning {
            _ = write!(text, " (warning: {warning})");
        }
        Some(text)
    }

    fn value(&self) -> Value {
        let (request, machine) = (self.request, &self.request.machine);
        let roles: Vec<Value> = self.answers.iter().map(|a| self.answer_value(a)).collect();
        let assumed: serde_json::Map<String, Value> = self
            .assumed()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let changes: Vec<Value> = self
            .changes
            .iter()
            .map(|change| {
                let roles = change.roles.iter();
                let roles: serde_json::Map<_, _> = roles
                    .map(|(role, backend)| (role.key().to_owned(), backend.as_str().into()))
                    .collect();
                json!({ "options": change.options, "roles": roles })
            })
            .collect();
        json!({
            "warnings": self.asked.slips,
            "rules": request.rules.name(),
            "vllm_commit": request.rules.commit().0,
            "platform": machine.platform.name(),
            "arch": machine.arch,
            "installed": machine.installed,
            "env": machine.env,
            "assumed": (machine.platform == Platform::Rocm).then_some(assumed),
            "would_change": changes,
            "roles": roles,
            "log": log_value(self.log),
            "block_size": self.block_size(),
            "vllm_test_asks_for": self.founding(),
        })
    }

    fn answer_value(&self, answer: &Answer) -> Value {
        let name = answer.name();
        let kernel = name
            .is_ok()
            .then(|| attention::kernel(self.registry, answer));
        let rejected: Vec<Value> = rejections(answer)
            .iter()
            .map(|(backend, reasons)| {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                json!({ "backend": backend.as_str(), "reasons": reasons })
            })
            .collect();
        let unlisted: serde_json::Map<String, Value> = self
            .unlisted(answer)
            .into_iter()
            .flat_map(|(reason, names)| {
                names
                    .into_iter()
                    .map(move |n| (n.to_owned(), reason.clone().into()))
            })
            .collect();
        let vllm = answer.vllm.as_ref().ok();
        let valid = vllm.map(|s| s.valid.iter().map(|b| b.as_str()).collect::<Vec<_>>());
        json!({
            "role": answer.role.key(),
            "kind": kind(answer).name(),
            "attn_type": answer.query.attn_type.value(),
            "dtype": answer.query.dtype.name(),
            "head_size": answer.query.head_size,
            "choice": name.ok(),
            "error": name.err().map(ToString::to_string),
            "fails_later": self.doom(answer),
            "vllm_choice": vllm.map(|s| s.chosen.as_str()),
            "priority": candidates(answer),
            "valid": valid,
            "rejected": rejected,
            "unlisted": unlisted,
            "log": log_value(&answer.log),
            "kernel": kernel.as_ref().and_then(|k| k.as_ref().ok()).map(|k| k.name().to_owned()),
            "kernel_error": kernel.and_then(std::result::Result::err),
        })
    }
}

/// Roles in words, those with the same backend together.
fn roles_text(roles: &[(Role, attention::BackendName)]) -> String {
    let texts: Vec<String> = roles
        .iter()
        .map(|(role, backend)| format!("{role}: {backend}"))
        .collect();
    texts.join("\n    ")
}

fn kind(answer: &Answer) -> Kind {
    match answer.role {
        Role::Encoder => Kind::Encoder,
        Role::DecoderSelf | Role::DecoderCross => Kind::of(&answer.query),
    }
}

fn candidates(answer: &Answer) -> Option<Vec<&'static str>> {
    let selection = answer.vllm.as_ref().ok()?;
    Some(selection.candidates.iter().map(|b| b.as_str()).collect())
}

fn rejections(answer: &Answer) -> Vec<Rejection> {
    match &answer.vllm {
        Ok(selection) => selection.rejected.clone(),
        Err(refusal) => refusal.rejected(),
    }
}

fn log_value(log: &[LogLine]) -> Vec<Value> {
    log.iter()
        .map(|l| json!({ "level": l.level.to_string(), "text": l.text }))
        .collect()
}
