//! What a format's reader hands over: tensors under the format's own names, and what the file says
//! of itself.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use super::bytes::{Mapped, bad};
use super::declared::Declared;
use super::names::{self, NAMES, NameRow, RowPart};
use super::tensor::Encoding;
use crate::error::Result;

/// Which column of the table of names a file speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    #[default]
    HuggingFace,
    CTranslate2,
}

impl Dialect {
    /// A tensor's name in this dialect, `#` still in it.
    pub fn pattern(self, row: &NameRow) -> &'static str {
        match self {
            Self::OpenAi => row.openai,
            Self::HuggingFace => row.hf,
            Self::CTranslate2 => row.ct2,
        }
    }

    /// The output matrix, in files that have one of its own.
    pub fn output(self) -> &'static str {
        self.pattern(&names::OUTPUT_ROW)
    }

    /// Which rows of what was found are the tensor: only CTranslate2 joins projections.
    pub fn part(self, row: &NameRow) -> RowPart {
        match self {
            Self::CTranslate2 => row.part,
            Self::OpenAi | Self::HuggingFace => names::WHOLE,
        }
    }
}

/// A tensor as a format's reader found it. The reader has checked that `bytes` lies within the
/// file and is as long as shape, encoding and strides ask for.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Index into [`Parts::files`].
    pub file: usize,
    pub bytes: Range<usize>,
    pub shape: Vec<usize>,
    pub encoding: Encoding,
    /// For [`Encoding::I8`]: one number for each row, or a single one for all.
    pub scales: Vec<f32>,
    /// Numbers from one to the next along each dimension, where rows do not follow one another.
    pub strides: Option<Vec<usize>>,
}

/// What a format's reader hands over.
pub(super) struct Parts {
    pub format: &'static str,
    pub path: PathBuf,
    pub files: Vec<Mapped>,
    pub found: HashMap<String, Found>,
    /// Tensors whose numbers cannot be used, and what they are.
    pub unusable: HashMap<String, String>,
    pub dialect: Dialect,
    /// What the file says of the network.
    pub declared: Vec<Declared>,
    /// The vocabulary, in formats that carry it.
    pub vocabulary: Option<Vec<Vec<u8>>>,
}

impl Parts {
    /// One file, in which nothing has been found yet.
    pub fn of_file(format: &'static str, file: Mapped) -> Self {
        Self {
            format,
            path: file.path().to_owned(),
            files: vec![file],
            found: HashMap::new(),
            unusable: HashMap::new(),
            dialect: Dialect::default(),
            declared: Vec::new(),
            vocabulary: None,
        }
    }

    /// A tensor's bytes.
    pub fn bytes(&self, found: &Found) -> Option<&[u8]> {
        let file = self.files.get(found.file)?;
        file.bytes().get(found.bytes.clone())
    }

    /// Adds a tensor under its plain name.
    pub fn add(&mut self, name: &str, tensor: Found) -> Result<()> {
        let name = plain(name);
        if name.contains(".blocks.") || name == "decoder.token_embedding.weight" {
            self.dialect = Dialect::OpenAi;
        }
        match self.found.insert(name.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(bad(&self.path, name, "is there twice".into())),
        }
    }

    /// Notes a tensor that holds no numbers the network could compute with.
    pub fn add_unusable(&mut self, name: &str, what: String) {
        self.unusable.insert(plain(name), what);
    }

    /// Takes in the tensors of another file of the same model.
    pub fn join(&mut self, other: Self) -> Result<()> {
        let before = self.files.len();
        self.files.extend(other.files);
        self.unusable.extend(other.unusable);
        for (name, mut tensor) in other.found {
            tensor.file += before;
            self.add(&name, tensor)?;
        }
        Ok(())
    }

    /// A row's name in this file.
    pub fn name(&self, row: &NameRow, block: usize) -> String {
        names::numbered(self.dialect.pattern(row), block)
    }

    /// A tensor of the table. The token embedding may be there under the output matrix's name only.
    pub fn find(&self, row: &NameRow, block: usize) -> Option<&Found> {
        let output = || match row.openai == names::EMBEDDING {
            true => self.found.get(self.dialect.output()),
            false => None,
        };
        self.found.get(&self.name(row, block)).or_else(output)
    }

    /// As [`find`](Self::find), by openai's name for the row.
    pub fn find_named(&self, openai: &str) -> Option<&Found> {
        let row = NAMES.iter().find(|row| row.openai == openai);
        row.and_then(|row| self.find(row, 0))
    }
}

/// What training tools put in front of names, or into them, when they wrap a module.
const WRAPPERS_ANYWHERE: [&str; 3] = [
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
];
const WRAPPERS_IN_FRONT: [&str; 3] = ["module.", "model.", "base_model."];

/// A tensor's name without wrappers.
fn plain(name: &str) -> String {
    let mut name = name.to_owned();
    for wrapper in WRAPPERS_ANYWHERE {
        name = name.replace(wrapper, "");
    }
    let mut rest = name.as_str();
    while let Some(inner) = WRAPPERS_IN_FRONT
        .iter()
        .find_map(|wrapper| rest.strip_prefix(wrapper))
    {
        rest = inner;
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_taken_off() {
        let name = "encoder.layers.0.fc1.weight";
        let cases = [
            "encoder.layers.0.fc1.weight",
            "model.encoder.layers.0.fc1.weight",
            "model.model.encoder.layers.0.fc1.weight",
            "module.model.encoder.layers.0.fc1.weight",
            "_orig_mod.model.encoder.layers.0.fc1.weight",
            "module._orig_mod.model.encoder.layers.0.fc1.weight",
            "model.encoder.layers.0._orig_mod.fc1.weight",
            "_fsdp_wrapped_module.model.encoder.layers.0._fsdp_wrapped_module.fc1.weight",
        ];
        for wrapped in cases {
            assert_eq!(plain(wrapped), name, "{wrapped}");
        }
        for kept in [
            "encoder/layer_0/ffn/linear_0/weight",
            "proj_out.weight",
            "model",
        ] {
            assert_eq!(plain(kept), kept);
        }
    }
}
