//! Weights of any size that no file holds: random, of a sane scale, exactly what 16-bit floats can say.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use undertone::ModelDimensions;
use undertone::weights::{Encoding, WeightSource, WeightTensor};
use undertone::{Error, Result};

/// A checkpoint in memory, the same for the same sizes.
pub struct RandomWeights {
    dims: ModelDimensions,
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

const OUTPUT: &str = "proj_out.weight";

/// How a tensor's numbers are spread.
struct Spread {
    mean: f32,
    deviation: f32,
}

/// Neither the last bits nor a period near a matrix's width show: plenty for weights.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// About normal, of mean 0 and deviation 1.
    pub fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        (sum as f32 / 65536.0 - 2.0) * 3f32.sqrt()
    }
}

impl RandomWeights {
    pub fn new(dims: ModelDimensions) -> Self {
        let mut random = Random::new(dims.n_vocab as u64 + dims.n_text_state as u64);
        let mut tensors = BTreeMap::new();
        for (name, shape) in tensors_of(&dims) {
            let bytes = numbers(&mut random, &spread(&name, &shape), shape.iter().product());
            tensors.insert(name, (shape, bytes));
        }
        Self { dims, tensors }
    }

    /// The same network with an output matrix that is not its token embedding.
    pub fn with_own_output(dims: ModelDimensions) -> Self {
        let shape = vec![dims.n_vocab, dims.n_text_state];
        let spread = spread("decoder.token_embedding.weight", &shape);
        let bytes = numbers(&mut Random::new(7), &spread, shape.iter().product());
        let mut weights = Self::new(dims);
        weights.tensors.insert(OUTPUT.into(), (shape, bytes));
        weights
    }
}

/// Every number is one of 8,192, rounded once.
fn numbers(random: &mut Random, spread: &Spread, count: usize) -> Vec<u8> {
    let one = |_| spread.mean + spread.deviation * random.normal();
    let table: Vec<[u8; 2]> = (0..1 << 13)
        .map(one)
        .map(|x| f16::from_f32(x).to_le_bytes())
        .collect();
    let mut bytes = Vec::with_capacity(2 * count + 8);
    while bytes.len() < 2 * count {
        let bits = random.next();
        for i in 0..4 {
            bytes.extend(table[(bits >> (16 * i)) as usize & 0x1fff]);
        }
    }
    bytes.truncate(2 * count);
    bytes
}

/// As in a network before training, but with embeddings and biases to be seen.
fn spread(name: &str, shape: &[usize]) -> Spread {
    let inputs: usize = shape[1..].iter().product();
    let (mean, deviation) = match shape.len() {
        1 if name.contains("ln") && name.ends_with("weight") => (1.0, 0.2),
        1 => (0.0, 0.1),
        _ if name.contains("embedding") => (0.0, 0.05),
        _ => (0.0, (inputs as f32).powf(-0.5)),
    };
    Spread { mean, deviation }
}

/// Names and shapes, as openai/whisper's `model.py` has them.
fn tensors_of(dims: &ModelDimensions) -> Vec<(String, Vec<usize>)> {
    let (audio, text) = (dims.n_audio_state, dims.n_text_state);
    let mut all = vec![
        ("encoder.conv1.weight".into(), vec![audio, dims.n_mels, 3]),
        ("encoder.conv1.bias".into(), vec![audio]),
        ("encoder.conv2.weight".into(), vec![audio, audio, 3]),
        ("encoder.conv2.bias".into(), vec![audio]),
        (
            "encoder.positional_embedding".into(),
            vec![dims.n_audio_ctx, audio],
        ),
        (
            "decoder.token_embedding.weight".into(),
            vec![dims.n_vocab, text],
        ),
        (
            "decoder.positional_embedding".into(),
            vec![dims.n_text_ctx, text],
        ),
    ];
    norm(&mut all, "encoder.ln_post", audio);
    norm(&mut all, "decoder.ln", text);
    for i in 0..dims.n_audio_layer {
        let name = format!("encoder.blocks.{i}");
        attention(&mut all, &format!("{name}.attn"), audio);
        mlp(&mut all, &name, audio);
    }
    for i in 0..dims.n_text_layer {
        let name = format!("decoder.blocks.{i}");
        attention(&mut all, &format!("{name}.attn"), text);
        attention(&mut all, &format!("{name}.cross_attn"), text);
        mlp(&mut all, &name, text);
    }
    all
}

type Tensors = Vec<(String, Vec<usize>)>;

fn norm(all: &mut Tensors, name: &str, width: usize) {
    all.push((format!("{name}.weight"), vec![width]));
    all.push((format!("{name}.bias"), vec![width]));
}

fn attention(all: &mut Tensors, name: &str, width: usize) {
    norm(all, &format!("{name}_ln"), width);
    for part in ["query", "key", "value", "out"] {
        all.push((format!("{name}.{part}.weight"), vec![width, width]));
        if part != "key" {
            all.push((format!("{name}.{part}.bias"), vec![width]));
        }
    }
}

fn mlp(all: &mut Tensors, name: &str, width: usize) {
    norm(all, &format!("{name}.mlp_ln"), width);
    for (part, outputs, inputs) in [(0, 4 * width, width), (2, width, 4 * width)] {
        all.push((format!("{name}.mlp.{part}.weight"), vec![outputs, inputs]));
        all.push((format!("{name}.mlp.{part}.bias"), vec![outputs]));
    }
}

impl WeightSource for RandomWeights {
    fn dims(&self) -> &ModelDimensions {
        &self.dims
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor<'_>> {
        let missing = || Error::Weights {
            file: self.file().to_owned(),
            tensor: Some(name.to_owned()),
            reason: "is missing".into(),
        };
        let (shape, bytes) = self.tensors.get(name).ok_or_else(missing)?;
        WeightTensor::checked(shape.clone(), Encoding::F16, bytes, Vec::new()).ok_or_else(missing)
    }

    fn output(&self) -> &str {
        match self.tensors.contains_key(OUTPUT) {
            true => OUTPUT,
            false => undertone::weights::EMBEDDING,
        }
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(format!("random {:?}", self.dims))
    }

    fn format(&self) -> &'static str {
        "random"
    }

    fn file(&self) -> &Path {
        Path::new("memory")
    }
}
