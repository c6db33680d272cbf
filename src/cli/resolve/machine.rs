//! The machine and the roles that attention backends are chosen for.

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Result;

use super::device;
use crate::attention;
use crate::cli::args::{AttentionArgs, ExplainArgs, RunArgs};
use crate::cli::attention::machine::{Described, VARIABLES};
use crate::cli::environment::{hub_config, variable};
use crate::cli::usage::usage;
use crate::device::Api;
use crate::dims::ModelDimensions;
use crate::weights::hub;

/// The machine of the attention options, as typed.
pub fn described(args: &AttentionArgs) -> Described<'_> {
    Described {
        platform: args.platform.as_deref(),
        arch: args.arch.as_deref(),
        aiter: args.aiter,
        installed: &args.installed,
        environment: &args.environment,
    }
}

/// As which machine attention backends are chosen, and which are asked for.
pub fn attention(args: &AttentionArgs) -> Result<attention::Request> {
    let machine = described(args).machine()?;
    let rules = args
        .rules
        .as_deref()
        .map(attention::RuleSet::parse)
        .transpose()?;
    Ok(attention::Request {
        rules: rules.unwrap_or_default(),
        machine,
        backend: args.attention_backend.clone(),
        backend_for: args.attention_backend_for.clone(),
        dtype: args
            .dtype
            .as_deref()
            .map(attention::Dtype::parse)
            .transpose()?,
        ..attention::Request::default()
    })
}

/// As [`attention`], for a device that computes: where that is AMD's, so is the machine.
pub fn attention_on(args: &RunArgs) -> Result<attention::Request> {
    attention(&for_device(args)?)
}

/// As [`attention_on`], but `--platform auto` means the machine that the program runs on.
pub fn attention_here(args: &RunArgs) -> Result<attention::Request> {
    attention(&as_detected(&for_device(args)?, Path::new("/"))?)
}

/// AMD's card is described by the platform's options without its name.
fn for_device(args: &RunArgs) -> Result<AttentionArgs> {
    let mut described = args.attention.clone();
    let on_rocm = device(args)?
        .cards()
        .is_some_and(|(api, _)| api == Api::Rocm);
    if on_rocm && described.platform.is_none() {
        described.platform = Some(Api::Rocm.name().to_owned());
    }
    Ok(described)
}

/// `--platform auto` without an arch is the machine below `root`, with its environment; what `--env`
/// sets goes before that.
fn as_detected(args: &AttentionArgs, root: &Path) -> Result<AttentionArgs> {
    let mut args = args.clone();
    let auto = |platform: &str| platform.eq_ignore_ascii_case("auto");
    if args.arch.is_some() || !args.platform.as_deref().is_some_and(auto) {
        return Ok(args);
    }
    let machine = attention::vllm::detect::Detected::read(root).machine()?;
    args.platform = Some(machine.platform.name().to_owned());
    args.arch = machine.arch;
    if machine.platform != attention::Platform::Cpu {
        let set = VARIABLES
            .iter()
            .filter_map(|name| Some(format!("{name}={}", variable(name)?)));
        args.environment = set.chain(args.environment).collect();
    }
    Ok(args)
}

/// What `attention explain` is asked: the model's sizes come from the catalogue, or from the files
/// of a model that is here.
pub fn explain(args: &ExplainArgs) -> Result<(attention::Request, ModelDimensions)> {
    let mut request = attention(&as_detected(&args.attention, Path::new("/"))?)?;
    request.head_size = args.head_size.map(usize::from);
    request.block_size = args.block_size.map(usize::from);
    let model = &args.model.model;
    if let Some(entry) = hub::find(model) {
        return Ok((request, entry.dims()));
    }
    match hub::locate(model, &hub_config(args.model.model_dir.as_deref()))? {
        Some(files) => Ok((
            request,
            crate::weights::open(&files.weights)?.dims().clone(),
        )),
        None => usage(format!(
            "--model: {model} is neither in the catalogue nor on this machine"
        )),
    }
}
