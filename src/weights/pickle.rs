//! A reader of the pickles that `torch.save` writes: data only, nothing is ever called.
//!
//! In: the bytes of `data.pkl`. Out: a tree of values in which tensors are descriptions of where
//! their numbers lie. Whatever else a pickle asks to build becomes [`Value::Opaque`]. Values live
//! in one list and name each other by index, so that a pickle that refers to itself does no harm.

use std::collections::HashMap;

/// A value: an index into [`Pickle`]'s list.
pub(super) type Ref = usize;

/// What a pickle can hold, as far as weights need it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Opaque,
    Int(i64),
    Text(String),
    /// A class or function by module and name.
    Global(String),
    Tuple(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// Numbers of a file of the archive: type, the file's name, how many.
    Storage(Storage),
    Tensor(Tensor),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub class: String,
    pub key: String,
    pub numbers: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub storage: Storage,
    /// In numbers, not bytes.
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// Why a pickle cannot be read.
pub(super) type Refusal = String;

/// All values of a pickle, and which of them it is about.
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Ref,
}

impl Pickle {
    pub fn root(&self) -> Ref {
        self.root
    }

    pub fn value(&self, at: Ref) -> &Value {
        self.values.get(at).unwrap_or(&Value::Opaque)
    }

    /// The entries of a dictionary whose keys are text.
    pub fn entries(&self, at: Ref) -> impl Iterator<Item = (&str, Ref)> {
        let pairs = match self.value(at) {
            Value::Dict(pairs) => pairs.as_slice(),
            _ => &[],
        };
        pairs
            .iter()
            .filter_map(|(key, value)| match self.value(*key) {
                Value::Text(key) => Some((key.as_str(), *value)),
                _ => None,
            })
    }

    /// One entry of a dictionary.
    pub fn entry(&self, at: Ref, name: &str) -> Option<Ref> {
        self.entries(at)
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    pub fn int(&self, at: Ref) -> Option<i64> {
        match self.value(at) {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

/// Reads a pickle.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle, Refusal> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let at = machine.at;
        let step = machine
            .step()
            .map_err(|why| format!("pickle, byte {at}: {why}"))?;
        if let Some(root) = step {
            return Ok(Pickle {
                values: machine.values,
                root,
            });
        }
    }
}

/// What lies on the stack.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Mark,
    Value(Ref),
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Slot>,
    memo: HashMap<u32, Ref>,
}

type Step<T = Option<Ref>> = Result<T, Refusal>;

impl Machine<'_> {
    /// Carries out one instruction; the root, when that was the last.
    fn step(&mut self) -> Step {
        let code = self.byte()?;
        match code {
            b'.' => return self.pop().map(Some),
            0x80 => _ = self.byte()?,
            0x95 => _ = self.take(8)?,
            b'(' => self.stack.push(Slot::Mark),
            b'0' => _ = self.stack.pop(),
            b'1' => _ = self.pop_to_mark()?,
            b'2' => {
                let top = self.top()?;
                self.stack.push(Slot::Value(top));
            }
            b'q' | b'r' | b'h' | b'j' | 0x94 => self.memory(code)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' => self.text(code)?,
            b'C' | b'B' | 0x8e => self.raw(code)?,
            b'J' | b'K' | b'M' | 0x8a => self.integer(code)?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Opaque);
            }
            b'N' | 0x88 | 0x89 => self.push(Value::Opaque),
            b')' | b't' | 0x85..=0x87 => self.tuple(code)?,
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' | b's' | b'u' => self.dict(code)?,
            b']' | 0x8f => self.push(Value::Opaque),
            b'l' | b'a' | b'e' | 0x90 | 0x91 => self.list(code)?,
            b'c' | 0x93 => self.global(code)?,
            b'Q' => self.persistent()?,
            b'R' | 0x81 | 0x92 | b'b' => self.build(code)?,
            other => return Err(format!("instruction {other:#04x} is not known")),
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&[u8], Refusal> {
        let end = self.at.checked_add(n);
        let taken = end
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or("is cut off")?;
        self.at += n;
        Ok(taken)
    }

    fn byte(&mut self) -> Step<u8> {
        self.take(1).map(|b| b[0])
    }

    /// A little-endian unsigned number of up to eight bytes.
    fn number(&mut self, width: usize) -> Step<u64> {
        Ok(self
            .take(width)?
            .iter()
            .rev()
            .fold(0, |n, &b| (n << 8) | u64::from(b)))
    }

    fn length(&mut self, width: usize) -> Step<usize> {
        let length = self.number(width)?;
        usize::try_from(length).map_err(|_| "a length overflows".into())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(Slot::Value(self.values.len()));
        self.values.push(value);
    }

    fn pop(&mut self) -> Step<Ref> {
        match self.stack.pop() {
            Some(Slot::Value(at)) => Ok(at),
            _ => Err("the stack has no value".into()),
        }
    }

    fn top(&self) -> Step<Ref> {
        match self.stack.last() {
            Some(Slot::Value(at)) => Ok(*at),
            _ => Err("the stack has no value".into()),
        }
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Ref>> {
        let mark = self
            .stack
            .iter()
            .rposition(|slot| matches!(slot, Slot::Mark));
        let mark = mark.ok_or("a mark is missing")?;
        let above = self.stack.split_off(mark);
        let values = above.into_iter().filter_map(|slot| match slot {
            Slot::Value(at) => Some(at),
            Slot::Mark => None,
        });
        Ok(values.collect())
    }

    fn memory(&mut self, code: u8) -> Step<()> {
        let key = match code {
            b'q' | b'h' => self.number(1)?,
            0x94 => self.memo.len() as u64,
            _ => self.number(4)?,
        };
        let key = u32::try_from(key).map_err(|_| "too many memories")?;
        match code {
            b'h' | b'j' => {
                let at = *self.memo.get(&key).ok_or("remembers nothing")?;
                self.stack.push(Slot::Value(at));
            }
            _ => _ = self.memo.insert(key, self.top()?),
        }
        Ok(())
    }

    fn text(&mut self, code: u8) -> Step<()> {
        let length = match code {
            0x8c | b'U' => self.length(1)?,
            0x8d => self.length(8)?,
            _ => self.length(4)?,
        };
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn raw(&mut self, code: u8) -> Step<()> {
        let length = match code {
            b'C' => self.length(1)?,
            b'B' => self.length(4)?,
            _ => self.length(8)?,
        };
        self.take(length)?;
        self.push(Value::Opaque);
        Ok(())
    }

    fn integer(&mut self, code: u8) -> Step<()> {
        let width = match code {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            _ => self.length(1)?,
        };
        let value = match width {
            0 => Value::Int(0),
            1..=8 => {
                let spare = 64 - 8 * u32::try_from(width).unwrap_or(8);
                let bits = self.number(width)?;
                // Short forms are unsigned, the others have a sign.
                let signed = (bits << spare).cast_signed() >> spare;
                Value::Int(if width <= 2 && code != 0x8a {
                    bits.cast_signed()
                } else {
                    signed
                })
            }
            _ => {
                self.take(width)?;
                Value::Opaque
            }
        };
        self.push(value);
        Ok(())
    }

    fn tuple(&mut self, code: u8) -> Step<()> {
        let items = match code {
            b')' => Vec::new(),
            b't' => self.pop_to_mark()?,
            _ => {
                let n = usize::from(code - 0x84);
                let mut items = (0..n).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
                items.reverse();
                items
            }
        };
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn dict(&mut self, code: u8) -> Step<()> {
        let items = match code {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let pairs = items
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[key, value]| (*key, *value));
        if code == b'd' {
            let pairs = pairs.collect();
            self.push(Value::Dict(pairs));
            return Ok(());
        }
        let target = self.top()?;
        if let Some(Value::Dict(dict)) = self.values.get_mut(target) {
            dict.extend(pairs);
        }
        Ok(())
    }

    /// Lists and sets hold nothing that is needed.
    fn list(&mut self, code: u8) -> Step<()> {
        match code {
            b'a' => _ = self.pop()?,
            _ => _ = self.pop_to_mark()?,
        }
        if matches!(code, b'l' | 0x91) {
            self.push(Value::Opaque);
        }
        Ok(())
    }

    fn line(&mut self) -> Step<String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or("a line does not end")?;
        let line = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.at += 1;
        Ok(line)
    }

    fn global(&mut self, code: u8) -> Step<()> {
        let name = if code == b'c' {
            format!("{}.{}", self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (self.values.get(module), self.values.get(name)) {
                (Some(Value::Text(module)), Some(Value::Text(name))) => format!("{module}.{name}"),
                _ => return Err("a class has no name".into()),
            }
        };
        self.push(Value::Global(name));
        Ok(())
    }

    /// `('storage', class, key, device, numbers)`.
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let storage = self.storage(id);
        self.push(storage.map_or(Value::Opaque, Value::Storage));
        Ok(())
    }

    fn items(&self, at: Ref) -> Option<&[Ref]> {
        match self.values.get(at)? {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn storage(&self, id: Ref) -> Option<Storage> {
        let [_, class, key, _, numbers] = *self.items(id)? else {
            return None;
        };
        match (
            self.values.get(class)?,
            self.values.get(key)?,
            self.values.get(numbers)?,
        ) {
            (Value::Global(class), Value::Text(key), Value::Int(numbers)) => Some(Storage {
                class: class.clone(),
                key: key.clone(),
                numbers: *numbers,
            }),
            _ => None,
        }
    }

    /// Objects. Of all callables only three mean something here, and none is called.
    fn build(&mut self, code: u8) -> Step<()> {
        let arguments = self.pop()?;
        if code == b'b' {
            // State given to an object: weights have none that matters.
            return self.top().map(|_| ());
        }
        let arguments = if code == 0x92 { self.pop()? } else { arguments };
        let class = self.pop()?;
        let built = match self.values.get(class) {
            Some(Value::Global(name)) => self.built(name, arguments),
            _ => None,
        };
        self.push(built.unwrap_or(Value::Opaque));
        Ok(())
    }

    fn built(&self, class: &str, arguments: Ref) -> Option<Value> {
        let items = self.items(arguments)?;
        match class {
            "collections.OrderedDict" => Some(Value::Dict(Vec::new())),
            "torch._utils._rebuild_parameter" => self.values.get(*items.first()?).cloned(),
            "torch._utils._rebuild_tensor_v2" => {
                let [storage, offset, shape, strides, ..] = *items else {
                    return None;
                };
                let (Some(Value::Storage(storage)), Some(Value::Int(offset))) =
                    (self.values.get(storage), self.values.get(offset))
                else {
                    return None;
                };
                Some(Value::Tensor(Tensor {
                    storage: storage.clone(),
                    offset: *offset,
                    shape: self.integers(shape)?,
                    strides: self.integers(strides)?,
                }))
            }
            _ => None,
        }
    }

    fn integers(&self, at: Ref) -> Option<Vec<i64>> {
        let numbers = self
            .items(at)?
            .iter()
            .map(|&item| match self.values.get(item) {
                Some(Value::Int(number)) => Some(*number),
                _ => None,
            });
        numbers.collect()
    }
}

#[cfg(test)]
mod tests;
