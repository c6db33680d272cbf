//! Pico in every format: what the conversion writes, and a `.pt`, which it does not.

use std::io::Write;
use std::path::{Path, PathBuf};

use half::f16;

use super::super::convert::{Conversion, Ct2Extras, GgmlExtras, Numbers, Target, convert};
use super::super::names::{all, numbered};
use super::super::{Block, WeightSource};
use super::pico;

/// A vocabulary for the formats that carry one.
pub fn extras() -> GgmlExtras {
    GgmlExtras {
        vocabulary: [&b"a"[..], b"b", b" the"].map(Vec::from).to_vec(),
        mel_filters: vec![0.5; 80 * 201],
    }
}

/// Pico, written in a format into a folder of its own; the file.
pub fn converted(dir: &Path, target: Target, numbers: Numbers) -> PathBuf {
    let folder = dir.join(format!("{}-{}", target.name(), numbers.name()));
    let conversion = Conversion {
        target,
        numbers: Some(numbers),
    };
    convert(&pico("model.safetensors"), &folder, &conversion).unwrap();
    super::super::weights_file(&folder).unwrap()
}

/// How far numbers may be from what they were, relative to a tensor's largest.
fn allowed(numbers: Numbers) -> f32 {
    match numbers {
        Numbers::F32 | Numbers::F16 => 0.0,
        Numbers::Bf16 => 4e-3,
        Numbers::Int8 | Numbers::Int8Float16 => 4.1e-3,
        Numbers::Blocks(block) => match block {
            Block::Q8_0 => 5e-3,
            Block::Q6K => 2e-2,
            // A number as large as the largest of its block, of the other sign, is a step away.
            Block::Q5_0 | Block::Q5_1 | Block::Q5K => 0.064,
            Block::Q4_0 | Block::Q4_1 | Block::Q4K => 0.126,
        },
    }
}

/// Files in every format, and how far their numbers may be from the originals.
pub fn in_every_format(dir: &Path, source: &dyn WeightSource) -> Vec<(PathBuf, f32)> {
    let mut files = vec![(pico("model.safetensors"), 0.0), (pico("model.bin"), 0.0)];
    let ggml = Target::Ggml(extras());
    for target in [
        Target::Safetensors,
        Target::CTranslate2(Ct2Extras::default()),
        ggml,
        Target::Gguf,
    ] {
        for (_, numbers) in Numbers::named().filter(|(_, numbers)| target.takes(*numbers)) {
            // Pico's rows are too short for blocks of 256.
            if !matches!(numbers, Numbers::Blocks(block) if block.numbers() > 64) {
                let file = converted(dir, target.clone(), numbers);
                files.push((file, allowed(numbers)));
            }
        }
    }
    let file = dir.join("pico.pt");
    pt(&file, source, |_| true);
    files.push((file, 0.0));
    files
}

fn word(out: &mut Vec<u8>, n: usize) {
    out.extend(u32::try_from(n).unwrap().to_le_bytes());
}

fn halves(floats: &[f32]) -> Vec<u8> {
    floats
        .iter()
        .flat_map(|&x| f16::from_f32(x).to_le_bytes())
        .collect()
}

/// What `torch.save({"dims": …, "model_state_dict": …})` writes, in f16, with the
/// tensors that are wanted.
pub fn pt(file: &Path, source: &dyn WeightSource, wanted: impl Fn(&str) -> bool) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(file).unwrap());
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::STORE);
    zip.start_file("pico/data.pkl", stored).unwrap();
    zip.write_all(&pickle(source, wanted)).unwrap();
    zip.start_file("pico/byteorder", stored).unwrap();
    zip.write_all(b"little").unwrap();
    for (key, (row, block)) in all(source.dims()).enumerate() {
        let tensor = source.tensor(&numbered(row.openai, block)).unwrap();
        zip.start_file(format!("pico/data/{key}"), stored).unwrap();
        zip.write_all(&halves(&tensor.to_f32())).unwrap();
    }
    zip.finish().unwrap();
}

fn pickle(source: &dyn WeightSource, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(b'X');
        word(out, text.len());
        out.extend(text.bytes());
    }
    fn int(out: &mut Vec<u8>, n: usize) {
        out.push(b'J');
        word(out, n);
    }
    fn tuple(out: &mut Vec<u8>, numbers: &[usize]) {
        out.push(b'(');
        numbers.iter().for_each(|&n| int(out, n));
        out.push(b't');
    }
    let d = source.dims();
    let mut out = b"\x80\x02}q\x00(".to_vec();
    text(&mut out, "dims");
    out.extend(b"}(");
    let sizes = [
        ("n_mels", d.n_mels),
        ("n_vocab", d.n_vocab),
        ("n_audio_ctx", d.n_audio_ctx),
        ("n_audio_state", d.n_audio_state),
        ("n_audio_head", d.n_audio_head),
        ("n_audio_layer", d.n_audio_layer),
        ("n_text_ctx", d.n_text_ctx),
        ("n_text_state", d.n_text_state),
        ("n_text_head", d.n_text_head),
        ("n_text_layer", d.n_text_layer),
    ];
    for (name, size) in sizes {
        text(&mut out, name);
        int(&mut out, size);
    }
    out.extend(b"u");
    text(&mut out, "model_state_dict");
    out.extend(b"ccollections\nOrderedDict\n)R(");
    for (key, (row, block)) in all(d).enumerate() {
        let name = numbered(row.openai, block);
        if !wanted(&name) {
            continue;
        }
        let shape = row.shape_in(d);
        let strides: Vec<usize> = (0..shape.len())
            .map(|i| shape[i + 1..].iter().product())
            .collect();
        text(&mut out, &name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nHalfStorage\n");
        text(&mut out, &key.to_string());
        text(&mut out, "cpu");
        int(&mut out, shape.iter().product());
        out.extend(b"tQK\x00");
        tuple(&mut out, &shape);
        tuple(&mut out, &strides);
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u}");
    text(&mut out, "_metadata");
    out.extend(b"Nsbu.");
    out
}

/// A tensor by Hugging Face's wrapped name, with its shape and numbers.
pub type Floats = (String, Vec<usize>, Vec<f32>);

/// All of a model's tensors.
pub fn floats(model: &Path) -> Vec<Floats> {
    let source = super::super::open(model).unwrap();
    let tensors = all(source.dims()).map(|(row, block)| {
        let name = numbered(row.openai, block);
        let shape = row.shape_in(source.dims());
        (row.hf_wrapped(block), shape, source.floats(&name).unwrap())
    });
    tensors.collect()
}

/// A safetensors file of these tensors, in 32-bit floats.
pub fn safetensors(file: &Path, tensors: &[Floats]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, floats) in tensors {
        let start = data.len();
        data.extend(floats.iter().flat_map(|x| x.to_le_bytes()));
        let info = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), info);
    }
    let text = serde_json::to_vec(&header).unwrap();
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes.extend(data);
    std::fs::write(file, bytes).unwrap();
}
