//! The machine that the options describe, and what looks like a slip in its description.

use crate::attention::vllm::{arch::Arch, env};
use crate::attention::{Machine, Platform, RuleSet};
use crate::cli::near::meant;
use crate::error::{Error, Result};

/// A description as typed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Described<'a> {
    pub platform: Option<&'a str>,
    pub arch: Option<&'a str>,
    /// The package is installed; switching it on is `--env VLLM_ROCM_USE_AITER=1`, as on a real machine.
    pub aiter: bool,
    pub installed: &'a [String],
    pub environment: &'a [String],
}

/// Products and the arch that compilers name them by.
const PRODUCTS: [(&str, &str); 17] = [
    ("mi300x", "gfx942"),
    ("mi300a", "gfx942"),
    ("mi300", "gfx942"),
    ("mi308x", "gfx942"),
    ("mi325x", "gfx942"),
    ("mi350x", "gfx950"),
    ("mi355x", "gfx950"),
    ("mi210", "gfx90a"),
    ("mi250", "gfx90a"),
    ("mi250x", "gfx90a"),
    ("mi100", "gfx908"),
    ("mi50", "gfx906"),
    ("mi60", "gfx906"),
    ("rx7900xtx", "gfx1100"),
    ("rx7900xt", "gfx1100"),
    ("rx9070xt", "gfx1201"),
    ("rx9070", "gfx1201"),
];

/// Archs of the GPUs that there are. The rules take any text.
const ARCHS: [&str; 26] = [
    "gfx900", "gfx906", "gfx908", "gfx90a", "gfx90c", "gfx940", "gfx941", "gfx942", "gfx950",
    "gfx1010", "gfx1012", "gfx1030", "gfx1031", "gfx1032", "gfx1035", "gfx1036", "gfx1100",
    "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1200", "gfx1201",
    "gfx1250",
];

/// Modules that the rules ask about.
const PACKAGES: [&str; 5] = [
    "aiter",
    "flash_attn",
    "flashinfer",
    "flash_attn.flash_attn_triton_amd",
    "aiter.ops.triton._triton_kernels.flash_attn_triton_amd",
];

/// Variables that the rules read.
pub const VARIABLES: [&str; 7] = [
    "VLLM_ROCM_USE_AITER",
    "VLLM_ROCM_USE_AITER_MHA",
    "VLLM_ROCM_USE_AITER_MLA",
    "VLLM_BATCH_INVARIANT",
    "FLASH_ATTENTION_TRITON_AMD_ENABLE",
    "HIP_VISIBLE_DEVICES",
    "CUDA_VISIBLE_DEVICES",
];

/// Those that vLLM reads as yes or no.
const SWITCHES: [&str; 3] = [VARIABLES[0], VARIABLES[1], VARIABLES[2]];

/// Variables that exist, or did, and that no choice depends on.
const UNREAD: [&str; 5] = [
    "VLLM_ATTENTION_BACKEND",
    "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION",
    "VLLM_ROCM_USE_AITER_PAGED_ATTN",
    "ROCR_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
];

impl Described<'_> {
    /// The machine. Without `--platform` (or with `auto`) an arch beginning with `gfx` means rocm, one
    /// with `sm` means cuda, and no arch means the CPU. A product's name stands for its arch, and a
    /// package's name on the index for the module.
    ///
    /// # Errors
    /// [`Error::Option`] for an unknown platform, for `--env` without `=`, and for a description of a
    /// GPU machine on the platform cpu.
    pub fn machine(&self) -> Result<Machine> {
        let arch = self.arch.map(understood);
        let platform = match self.platform.filter(|p| !p.eq_ignore_ascii_case("auto")) {
            Some(name) => Platform::parse(name)?,
            None if arch.as_ref().is_some_and(|a| a.starts_with("gfx")) => Platform::Rocm,
            None if arch.as_ref().is_some_and(|a| a.starts_with("sm")) => Platform::Cuda,
            None => Platform::Cpu,
        };
        if platform == Platform::Cpu && (arch.is_some() || self.aiter) {
            let reason = "--arch and --aiter describe a GPU machine: say --platform rocm and its \
                          arch, as in --arch gfx942";
            return Err(Error::Option {
                option: "platform",
                reason: reason.to_owned(),
            });
        }
        let mut machine = Machine {
            platform,
            arch,
            ..Machine::default()
        };
        let listed = self.installed.iter().map(|name| module(name));
        machine
            .installed
            .extend(listed.filter(|name| !name.is_empty()));
        if self.aiter {
            machine.installed.insert("aiter".to_owned());
        }
        for text in self.environment {
            let Some((name, value)) = text.split_once('=') else {
                return Err(Error::Option {
                    option: "env",
                    reason: format!("{text:?} is not K=V"),
                });
            };
            machine.env.insert(name.to_owned(), value.to_owned());
        }
        Ok(machine)
    }

    /// What looks like a slip: the rules take any text and answer for it. A line for each.
    #[must_use]
    pub fn slips(&self, rules: RuleSet) -> Vec<String> {
        let Ok(machine) = self.machine() else {
            return Vec::new();
        };
        let mut slips = Vec::new();
        if machine.platform == Platform::Rocm {
            slips.extend(self.arch.and_then(arch_slip));
        }
        slips.extend(self.installed.iter().filter_map(|name| package_slip(name)));
        for (name, value) in &machine.env {
            slips.extend(variable_slip(&machine, rules, name, value));
        }
        slips
    }
}

fn understood(typed: &str) -> String {
    let plain: String = typed
        .to_lowercase()
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '_'))
        .collect();
    let plain = plain
        .trim_start_matches("amd")
        .trim_start_matches("instinct");
    if let Some((_, arch)) = PRODUCTS.iter().find(|(product, _)| *product == plain) {
        return (*arch).to_owned();
    }
    match typed.get(..3) {
        Some(start) if start.eq_ignore_ascii_case("gfx") => typed.to_lowercase(),
        _ => typed.to_owned(),
    }
}

fn arch_slip(typed: &str) -> Option<String> {
    let arch = understood(typed);
    if arch != typed {
        return Some(format!("--arch {typed}: taken as {arch}"));
    }
    let bare = arch.split(':').next().unwrap_or_default();
    if ARCHS.contains(&bare) {
        return None;
    }
    let products = PRODUCTS.iter().map(|(product, _)| *product);
    let meant = meant(bare, ARCHS.into_iter().chain(products));
    let what = match Arch(&arch).capability() {
        Ok(None) => "is no arch of AMD's",
        _ => "is the arch of no GPU that is known here",
    };
    Some(format!("--arch {typed}: {what}{meant}"))
}

/// The module's name: packages are written with dashes on the index.
fn module(typed: &str) -> String {
    let typed = typed.trim();
    match typed.split(['=', '<', '>', '~']).next().unwrap_or(typed) {
        "amd-aiter" | "amd_aiter" => "aiter".to_owned(),
        name => name.replace('-', "_"),
    }
}

fn package_slip(typed: &str) -> Option<String> {
    let name = module(typed);
    let known = name.is_empty()
        || PACKAGES.iter().any(|p| {
            *p == name
                || p.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with('.'))
        });
    (!known).then(|| {
        let meant = meant(&name, PACKAGES);
        format!("--installed {name}: the rules ask about no such package{meant}")
    })
}

fn variable_slip(machine: &Machine, rules: RuleSet, name: &str, value: &str) -> Option<String> {
    if UNREAD.contains(&name) {
        return Some(format!("--env {name}: no choice depends on this variable"));
    }
    if !VARIABLES.contains(&name) {
        let meant = meant(name, VARIABLES);
        return Some(format!(
            "--env {name}: the rules read no such variable{meant}"
        ));
    }
    if name == "VLLM_BATCH_INVARIANT" && rules == RuleSet::March2026 {
        return Some(format!("--env {name}: {rules} does not look at it"));
    }
    let plain = ["true", "1", "false", "0"].contains(&value.to_lowercase().as_str());
    let counts_as_off = SWITCHES.contains(&name) && !plain && !env::flag(machine, name, false);
    counts_as_off
        .then(|| format!("--env {name}={value}: counts as off; only 1 and true switch it on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn machines_as_typed() {
        let platform = |platform, arch, aiter| {
            let described = Described {
                platform,
                arch,
                aiter,
                ..Described::default()
            };
            described.machine().map(|machine| machine.platform)
        };
        assert_eq!(platform(None, None, false).unwrap(), Platform::Cpu);
        assert_eq!(platform(Some("auto"), None, false).unwrap(), Platform::Cpu);
        assert_eq!(
            platform(None, Some("gfx942"), true).unwrap(),
            Platform::Rocm
        );
        assert_eq!(
            platform(None, Some("MI300X"), true).unwrap(),
            Platform::Rocm
        );
        let cuda = platform(Some("auto"), Some("sm_90"), false).unwrap();
        assert_eq!(cuda, Platform::Cuda);
        let bad = [
            platform(Some("tpu"), None, false),
            platform(Some("cpu"), Some("gfx942"), false),
            platform(None, None, true),
        ];
        for answer in bad {
            assert!(matches!(answer, Err(Error::Option { .. })), "{answer:?}");
        }
        let (installed, environment) = (
            owned(&["flash-attn", " aiter ", ""]),
            owned(&["A=b=c", "D="]),
        );
        let described = Described {
            platform: Some("rocm"),
            arch: Some("gfx942"),
            installed: &installed,
            environment: &environment,
            ..Described::default()
        };
        let read = described.machine().unwrap();
        assert_eq!(read.installed.len(), 2);
        assert_eq!((read.env("A"), read.env("D")), (Some("b=c"), Some("")));
        assert!(read.has_module("aiter") && read.has_module("flash_attn"));
        let bad = Described {
            environment: &owned(&["A"]),
            ..described
        };
        assert!(matches!(bad.machine(), Err(Error::Option { .. })));
    }

    #[test]
    fn slips_are_named_and_what_is_right_is_not() {
        let table: &[(&str, &str, &str, &str)] = &[
            (
                "gfx942:sramecc+:xnack-",
                "aiter",
                "VLLM_ROCM_USE_AITER=1",
                "",
            ),
            ("gfx942", "flash-attn", "VLLM_ROCM_USE_AITER_MHA=False", ""),
            ("MI300X", "", "", "--arch MI300X: taken as gfx942"),
            ("GFX942", "", "", "--arch GFX942: taken as gfx942"),
            (
                "gfx94",
                "",
                "",
                "--arch gfx94: is the arch of no GPU that is known here; did you mean gfx940?",
            ),
            (
                "mi30x",
                "",
                "",
                "--arch mi30x: is no arch of AMD's; did you mean mi300x?",
            ),
            (
                "gfx942",
                "atier",
                "",
                "--installed atier: the rules ask about no such package; did you mean aiter?",
            ),
            (
                "gfx942",
                "",
                "VLLM_ROCM_USE_AITERR=1",
                "--env VLLM_ROCM_USE_AITERR: the rules read no such variable; did you mean \
                 VLLM_ROCM_USE_AITER?",
            ),
            (
                "gfx942",
                "",
                "VLLM_ROCM_USE_AITER=yes",
                "--env VLLM_ROCM_USE_AITER=yes: counts as off; only 1 and true switch it on",
            ),
            (
                "gfx942",
                "",
                "VLLM_ATTENTION_BACKEND=TRITON_ATTN",
                "--env VLLM_ATTENTION_BACKEND: no choice depends on this variable",
            ),
        ];
        for (arch, package, variable, want) in table {
            let environment: Vec<String> = owned(&[variable]);
            let described = Described {
                platform: Some("rocm"),
                arch: Some(arch),
                installed: &owned(&[package]),
                environment: if variable.is_empty() {
                    &[]
                } else {
                    &environment
                },
                ..Described::default()
            };
            let slips = described.slips(RuleSet::default()).join("\n");
            assert_eq!(&slips, want);
        }
    }
}
