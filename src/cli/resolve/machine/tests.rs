//! `--platform auto`: the machine below a root folder.

use super::*;

/// A root folder that holds these files.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

const MI300X: (&str, &str) = (
    "sys/class/kfd/kfd/topology/nodes/1/properties",
    "gfx_target_version 90402\ndrm_render_minor 128\n",
);
const H100: (&str, &str) = (
    "proc/driver/nvidia/gpus/0000:01:00.0/information",
    "Model: \t\t NVIDIA H100 80GB HBM3\n",
);

#[test]
fn auto_is_the_machine_below_the_root() {
    // Files, --platform, --arch, then the platform and the arch that are asked about.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>, &'a str);
    let table: [Case; 6] = [
        (&[], "auto", None, "cpu None"),
        (&[MI300X], "AUTO", None, "rocm Some(\"gfx942\")"),
        (&[H100], "auto", None, "cuda None"),
        (&[MI300X], "cpu", None, "cpu None"),
        (&[MI300X], "auto", Some("gfx1100"), "rocm Some(\"gfx1100\")"),
        (&[H100], "rocm", Some("gfx90a"), "rocm Some(\"gfx90a\")"),
    ];
    for (files, platform, arch, expected) in table {
        let args = AttentionArgs {
            platform: Some(platform.to_owned()),
            arch: arch.map(str::to_owned),
            ..AttentionArgs::default()
        };
        let machine = attention(&as_detected(&args, root(files).path()).unwrap())
            .unwrap()
            .machine;
        let found = format!("{} {:?}", machine.platform.name(), machine.arch);
        assert_eq!(found, expected, "{platform} {arch:?}");
    }
}

#[test]
fn auto_with_gpus_of_both_makers_is_a_question_back() {
    let args = AttentionArgs {
        platform: Some("auto".to_owned()),
        ..AttentionArgs::default()
    };
    let error = as_detected(&args, root(&[MI300X, H100]).path()).unwrap_err();
    assert!(error.to_string().contains("say rocm or cuda"), "{error}");
}

#[test]
fn what_is_typed_goes_before_the_environment_of_the_machine() {
    let args = AttentionArgs {
        platform: Some("auto".to_owned()),
        environment: vec!["VLLM_ROCM_USE_AITER=1".to_owned()],
        ..AttentionArgs::default()
    };
    let args = as_detected(&args, root(&[MI300X]).path()).unwrap();
    let machine = attention(&args).unwrap().machine;
    assert_eq!(machine.env("VLLM_ROCM_USE_AITER"), Some("1"));
}
