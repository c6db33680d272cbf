//! Pico in every format, written as the formats' own programs write them.

use std::io::Write;
use std::path::{Path, PathBuf};

use half::f16;

use super::super::convert::{Conversion, Numbers, Target, convert};
use super::super::names::{all, numbered};
use super::super::{Block, WeightSource};
use super::pico;

/// A vocabulary for the formats that carry one.
pub const VOCABULARY: [&[u8]; 3] = [b"a", b"b", b" the"];

/// Files in every format, and how far their numbers may be from the originals.
pub fn in_every_format(dir: &Path, source: &dyn WeightSource) -> Vec<(PathBuf, f32)> {
    let converted = |name: &str, target, numbers| {
        let folder = dir.join(name);
        if !folder.exists() {
            let numbers = Some(numbers);
            convert(
                &pico("model.safetensors"),
                &folder,
                Conversion { target, numbers },
            )
            .unwrap();
        }
        folder
    };
    let file = |name: &str| dir.join(name);
    ggml(&file("ggml-f16.bin"), source, None, |_| true);
    ggml(&file("ggml-q8_0.bin"), source, Some(Block::Q8_0), |_| true);
    gguf(&file("f16.gguf"), source);
    pt(&file("pico.pt"), source);
    vec![
        (pico("model.safetensors"), 0.0),
        (pico("model.bin"), 0.0),
        (
            converted("f32", Target::Safetensors, Numbers::F32).join("model.safetensors"),
            0.0,
        ),
        (
            converted("f16", Target::Safetensors, Numbers::F16).join("model.safetensors"),
            0.0,
        ),
        (
            converted("bf16", Target::Safetensors, Numbers::Bf16).join("model.safetensors"),
            4e-3,
        ),
        (
            converted("ct2", Target::CTranslate2, Numbers::F32).join("model.bin"),
            0.0,
        ),
        (
            converted("ct2-f16", Target::CTranslate2, Numbers::F16).join("model.bin"),
            0.0,
        ),
        (
            converted("ct2-int8", Target::CTranslate2, Numbers::Int8).join("model.bin"),
            4.1e-3,
        ),
        (file("ggml-f16.bin"), 0.0),
        (file("ggml-q8_0.bin"), 5e-3),
        (file("f16.gguf"), 0.0),
        (file("pico.pt"), 0.0),
    ]
}

fn word(out: &mut Vec<u8>, n: usize) {
    out.extend(u32::try_from(n).unwrap().to_le_bytes());
}

fn long(out: &mut Vec<u8>, n: usize) {
    out.extend((n as u64).to_le_bytes());
}

fn halves(floats: &[f32]) -> Vec<u8> {
    floats
        .iter()
        .flat_map(|&x| f16::from_f32(x).to_le_bytes())
        .collect()
}

/// Blocks of 32 with a 16-bit scale and 8-bit numbers.
fn q8_0(floats: &[f32]) -> Vec<u8> {
    let block = |numbers: &[f32]| {
        let most = numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let scale = f16::from_f32(most / 127.0);
        let byte = |x: &f32| ((x / scale.to_f32()).round() as i8).cast_unsigned();
        scale
            .to_le_bytes()
            .into_iter()
            .chain(numbers.iter().map(byte))
            .collect::<Vec<_>>()
    };
    floats.chunks(32).flat_map(block).collect()
}

/// whisper.cpp's format; the matrices in blocks where asked for, all else in f32 or f16.
pub fn ggml(
    file: &Path,
    source: &dyn WeightSource,
    block: Option<Block>,
    wanted: impl Fn(&str) -> bool,
) {
    let d = source.dims();
    let mut out = b"lmgg".to_vec();
    let sizes = [
        d.n_vocab,
        d.n_audio_ctx,
        d.n_audio_state,
        d.n_audio_head,
        d.n_audio_layer,
    ];
    let more = [
        d.n_text_ctx,
        d.n_text_state,
        d.n_text_head,
        d.n_text_layer,
        d.n_mels,
        1,
    ];
    sizes
        .iter()
        .chain(&more)
        .for_each(|&size| word(&mut out, size));
    word(&mut out, 2);
    word(&mut out, 3);
    out.extend([0; 24]);
    word(&mut out, VOCABULARY.len());
    for token in VOCABULARY {
        word(&mut out, token.len());
        out.extend(token);
    }
    for (row, number) in all(d) {
        let name = numbered(row.openai, number);
        if !wanted(&name) {
            continue;
        }
        let tensor = source.tensor(&name).unwrap();
        let floats = tensor.to_f32();
        let mut shape = tensor.shape().to_vec();
        if name.contains("conv") && shape.len() == 1 {
            shape.push(1);
        }
        let is_matrix = shape.len() == 2 && !name.contains("positional") && !name.contains("conv");
        let (kind, bytes) = match block {
            Some(Block::Q8_0) if is_matrix => (8, q8_0(&floats)),
            _ => (1, halves(&floats)),
        };
        word(&mut out, shape.len());
        word(&mut out, name.len());
        word(&mut out, kind);
        shape.iter().rev().for_each(|&size| word(&mut out, size));
        out.extend(name.bytes());
        out.extend(bytes);
    }
    std::fs::write(file, out).unwrap();
}

/// GGUF version 3 with a few keys of every shape.
fn gguf(file: &Path, source: &dyn WeightSource) {
    let text = |out: &mut Vec<u8>, text: &str| {
        long(out, text.len());
        out.extend(text.bytes());
    };
    let tensors: Vec<_> = all(source.dims()).collect();
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    long(&mut out, tensors.len());
    long(&mut out, 3);
    text(&mut out, "general.architecture");
    word(&mut out, 8);
    text(&mut out, "whisper");
    text(&mut out, "general.alignment");
    word(&mut out, 4);
    word(&mut out, 64);
    text(&mut out, "languages");
    word(&mut out, 9);
    word(&mut out, 8);
    long(&mut out, 2);
    text(&mut out, "en");
    text(&mut out, "de");
    let mut data = Vec::new();
    for (row, block) in tensors {
        let tensor = source.tensor(&numbered(row.openai, block)).unwrap();
        data.resize(data.len().next_multiple_of(64), 0);
        text(&mut out, &format!("model.{}", numbered(row.hf, block)));
        word(&mut out, tensor.shape().len());
        tensor
            .shape()
            .iter()
            .rev()
            .for_each(|&size| long(&mut out, size));
        word(&mut out, 1);
        long(&mut out, data.len());
        data.extend(halves(&tensor.to_f32()));
    }
    out.resize(out.len().next_multiple_of(64), 0);
    out.extend(data);
    std::fs::write(file, out).unwrap();
}

/// What `torch.save({"dims": …, "model_state_dict": …})` writes, in f16.
fn pt(file: &Path, source: &dyn WeightSource) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(file).unwrap());
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::STORE);
    zip.start_file("pico/data.pkl", stored).unwrap();
    zip.write_all(&pickle(source)).unwrap();
    zip.start_file("pico/byteorder", stored).unwrap();
    zip.write_all(b"little").unwrap();
    for (key, (row, block)) in all(source.dims()).enumerate() {
        let tensor = source.tensor(&numbered(row.openai, block)).unwrap();
        zip.start_file(format!("pico/data/{key}"), stored).unwrap();
        zip.write_all(&halves(&tensor.to_f32())).unwrap();
    }
    zip.finish().unwrap();
}

fn pickle(source: &dyn WeightSource) -> Vec<u8> {
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
    text(&mut out, "n_audio_head");
    int(&mut out, d.n_audio_head);
    text(&mut out, "n_text_head");
    int(&mut out, d.n_text_head);
    out.extend(b"u");
    text(&mut out, "model_state_dict");
    out.extend(b"ccollections\nOrderedDict\n)R(");
    for (key, (row, block)) in all(d).enumerate() {
        let shape = row.shape_in(d);
        let strides: Vec<usize> = (0..shape.len())
            .map(|i| shape[i + 1..].iter().product())
            .collect();
        text(&mut out, &numbered(row.openai, block));
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
