//! What GPUs a machine has, read from the files that the kernel and the drivers show: no vendor's library
//! is linked, and none need be installed.
//!
//! In: the root of the file system (another folder in tests). Out: plain values, and the [`Machine`] that
//! the rules would be asked about. It informs; nothing computes on what is found here.

use std::fs;
use std::path::Path;

use super::query::{Machine, Platform};
use crate::error::{Error, Result};

const KFD_NODES: &str = "sys/class/kfd/kfd/topology/nodes";
const DRM: &str = "sys/class/drm";
const NVIDIA: &str = "proc/driver/nvidia";
const AMD_VENDOR: &str = "0x1002";

/// A GPU that AMD's compute driver knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmdGpu {
    /// As compilers name it, `gfx942`; features such as `sramecc` are not among the driver's files.
    pub arch: String,
    /// The number in `/dev/dri/renderD128`, if it has such a node.
    pub render_minor: Option<u32>,
}

/// The GPUs of a machine, each list in the order of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// Those that AMD's compute driver (KFD) knows.
    pub amd: Vec<AmdGpu>,
    /// Render nodes of AMD's that the compute driver doesn't know: good for a screen alone.
    pub amd_without_compute: Vec<String>,
    /// The models that NVIDIA's driver names.
    pub nvidia: Vec<String>,
    /// The version line of NVIDIA's driver, where it is loaded.
    pub nvidia_driver: Option<String>,
}

impl Detected {
    /// Reads the files below `root`. What is missing or makes no sense counts as not there.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let amd = amd_gpus(&root.join(KFD_NODES));
        let known = |minor: u32| amd.iter().any(|gpu| gpu.render_minor == Some(minor));
        let amd_without_compute = amd_render_nodes(&root.join(DRM))
            .into_iter()
            .filter(|minor| !known(*minor))
            .map(|minor| format!("renderD{minor}"))
            .collect();
        Self {
            amd_without_compute,
            amd,
            nvidia: nvidia_models(&root.join(NVIDIA).join("gpus")),
            nvidia_driver: first_line(&root.join(NVIDIA).join("version")),
        }
    }

    /// The machine to ask the rules about: ROCm where AMD's compute driver knows a GPU, CUDA where
    /// NVIDIA's driver does, else the CPU. The first GPU's arch counts, as in vLLM. Which packages are
    /// installed cannot be seen in these files.
    ///
    /// # Errors
    /// [`Error::Option`] where both are there: vLLM doesn't start on such a machine either.
    pub fn machine(&self) -> Result<Machine> {
        let platform = match (self.amd.is_empty(), self.nvidia.is_empty()) {
            (false, false) => {
                return Err(Error::Option {
                    option: "platform",
                    reason: "this machine has GPUs of AMD's and NVIDIA's: say rocm or cuda".into(),
                });
            }
            (false, true) => Platform::Rocm,
            (true, false) => Platform::Cuda,
            (true, true) => Platform::Cpu,
        };
        let arch = self.amd.first().map(|gpu| gpu.arch.clone());
        Ok(Machine {
            platform,
            arch,
            ..Machine::default()
        })
    }

    /// A line for each GPU, in words, but for as many of NVIDIA's and AMD's as their drivers themselves have named.
    #[must_use]
    pub fn lines_beside(&self, nvidia_named: usize, amd_named: usize) -> Vec<String> {
        let amd = self.amd.iter().skip(amd_named);
        let amd = amd.map(|gpu| match gpu.render_minor {
            Some(minor) => format!("AMD {} (renderD{minor})", gpu.arch),
            None => format!("AMD {}", gpu.arch),
        });
        let dark = self.amd_without_compute.iter();
        let dark = dark.map(|node| format!("AMD {node}, which the compute driver does not know"));
        let nvidia = self.nvidia.iter().skip(nvidia_named).cloned();
        amd.chain(dark).chain(nvidia).collect()
    }
}

/// The nodes of the topology that are GPUs, by number.
fn amd_gpus(nodes: &Path) -> Vec<AmdGpu> {
    let mut numbers: Vec<u32> = names_in(nodes)
        .iter()
        .filter_map(|n| n.parse().ok())
        .collect();
    numbers.sort_unstable();
    let gpu = |number: &u32| {
        let text = fs::read_to_string(nodes.join(number.to_string()).join("properties")).ok()?;
        let arch = arch(property(&text, "gfx_target_version")?)?;
        let render_minor = property(&text, "drm_render_minor").filter(|minor| *minor > 0);
        Some(AmdGpu { arch, render_minor })
    };
    numbers.iter().filter_map(gpu).collect()
}

/// A line `name value` of a node's properties.
fn property(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// `gfx_target_version` counts decimally, two digits each for minor and stepping: 90402 is gfx942, and
/// 90010 is gfx90a, since names write both in hexadecimal. A CPU's is 0.
fn arch(version: u32) -> Option<String> {
    let (major, minor, stepping) = (version / 10_000, version / 100 % 100, version % 100);
    (major > 0 && minor < 16 && stepping < 16).then(|| format!("gfx{major}{minor:x}{stepping:x}"))
}

/// The numbers of the render nodes whose device is AMD's.
fn amd_render_nodes(drm: &Path) -> Vec<u32> {
    let is_amd = |minor: &u32| {
        let vendor = drm.join(format!("renderD{minor}")).join("device/vendor");
        first_line(&vendor).is_some_and(|vendor| vendor.eq_ignore_ascii_case(AMD_VENDOR))
    };
    let names = names_in(drm);
    let minors = names
        .iter()
        .filter_map(|name| name.strip_prefix("renderD")?.parse().ok());
    let mut found: Vec<u32> = minors.filter(is_amd).collect();
    found.sort_unstable();
    found
}

/// `Model:` of every GPU that the driver lists, by its place on the bus.
fn nvidia_models(gpus: &Path) -> Vec<String> {
    let mut places = names_in(gpus);
    places.sort_unstable();
    let model = |place: &String| {
        let text = fs::read_to_string(gpus.join(place).join("information")).ok()?;
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(model.trim().to_owned())
    };
    places.iter().filter_map(model).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn first_line(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .next()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that holds these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const CPU_NODE: (&str, &str) = (
        "sys/class/kfd/kfd/topology/nodes/0/properties",
        "cpu_cores_count 96\nsimd_count 0\ngfx_target_version 0\ndrm_render_minor 0\n",
    );

    #[test]
    fn versions_become_names() {
        let table = [
            (90402, Some("gfx942")),
            (90010, Some("gfx90a")),
            (90500, Some("gfx950")),
            (90008, Some("gfx908")),
            (100_300, Some("gfx1030")),
            (110_000, Some("gfx1100")),
            (110_501, Some("gfx1151")),
            (120_001, Some("gfx1201")),
            (120_500, Some("gfx1250")),
            (0, None),
            (90099, None),
        ];
        for (version, name) in table {
            assert_eq!(arch(version).as_deref(), name, "{version}");
        }
    }

    #[test]
    fn eight_gpus_of_amd() {
        let mut files = vec![CPU_NODE];
        let paths: Vec<String> = (1..=8)
            .map(|n| format!("sys/class/kfd/kfd/topology/nodes/{n}/properties"))
            .collect();
        let texts: Vec<String> = (1..=8)
            .map(|n| {
                format!(
                    "simd_count 1216\ngfx_target_version 90402\ndrm_render_minor {}\n",
                    127 + n
                )
            })
            .collect();
        files.extend(
            paths
                .iter()
                .map(String::as_str)
                .zip(texts.iter().map(String::as_str)),
        );
        files.push(("sys/class/drm/renderD128/device/vendor", "0x1002\n"));
        files.push(("sys/class/drm/renderD140/device/vendor", "0x1002\n"));
        files.push(("sys/class/drm/renderD141/device/vendor", "0x8086\n"));
        let root = root(&files);
        let found = Detected::read(root.path());
        assert_eq!(found.amd.len(), 8);
        assert_eq!(
            found.amd[0],
            AmdGpu {
                arch: "gfx942".into(),
                render_minor: Some(128)
            }
        );
        assert_eq!(found.amd_without_compute, ["renderD140"]);
        let machine = found.machine().unwrap();
        assert_eq!(
            (machine.platform, machine.arch.as_deref()),
            (Platform::Rocm, Some("gfx942"))
        );
        assert_eq!(found.lines_beside(0, 8).len(), 1);
        let lines = found.lines_beside(0, 0);
        assert_eq!(
            (lines.len(), lines[0].as_str()),
            (9, "AMD gfx942 (renderD128)")
        );
    }

    #[test]
    fn an_nvidia_gpu() {
        let root = root(&[
            (
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX x86_64  550.54.14\nGCC\n",
            ),
            (
                "proc/driver/nvidia/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 82\n",
            ),
        ]);
        let found = Detected::read(root.path());
        assert_eq!(found.lines_beside(0, 0), ["NVIDIA H100 80GB HBM3"]);
        assert_eq!(found.machine().unwrap().platform, Platform::Cuda);
        let driver = found.nvidia_driver.unwrap();
        assert_eq!(driver, "NVRM version: NVIDIA UNIX x86_64  550.54.14");
    }

    #[test]
    fn both_is_an_error_and_neither_is_the_cpu() {
        let amd = (
            "sys/class/kfd/kfd/topology/nodes/1/properties",
            "gfx_target_version 110000\n",
        );
        let nvidia = ("proc/driver/nvidia/gpus/0/information", "Model: X\n");
        let both = Detected::read(root(&[amd, nvidia]).path()).machine();
        assert!(both.unwrap_err().to_string().contains("say rocm or cuda"));
        let damaged = (
            "sys/class/kfd/kfd/topology/nodes/1/properties",
            "gfx_target_version x\n",
        );
        for files in [&[][..], &[CPU_NODE], &[CPU_NODE, damaged]] {
            let found = Detected::read(root(files).path());
            assert_eq!(found.machine().unwrap(), Machine::default());
        }
    }
}
