//! The part of Python's pickle language a PyTorch checkpoint is written in, read without executing any of it.
//!
//! A pickle is a program for a stack machine. This one knows the instructions that build data, and a closed list of the
//! names a checkpoint may mention; the few that matter (tensors and their storages) become data too, the rest an inert
//! object. Any other name is refused before anything is made of it.

use std::collections::HashMap;

use super::element::Element;

/// Index of an object in [`Pickle`].
type Id = usize;

/// A Python object, as far as a checkpoint needs it.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    Int(i64),
    Text(String),
    /// Tuple, list or set.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Storage(Storage),
    Tensor(Tensor),
    Name(Name),
    /// None, booleans, floats, bytes, and whatever no weights depend on.
    Inert,
}

/// A file of the archive that holds numbers of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    pub key: String,
    pub element: Element,
    pub count: usize,
}

/// A view of a storage; offset and strides in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The names a checkpoint may mention.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageType(Element),
    /// Size of a tensor: a tuple by another name.
    Size,
    /// Settings and counters beside the weights: never looked at.
    Inert,
}

/// Why a pickle was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A name outside the list.
    Forbidden(String),
    /// Damaged, or an instruction no checkpoint contains; position and reason.
    Malformed(usize, String),
}

/// The objects of a pickle; `root` is the one it stands for.
#[derive(Debug)]
pub(crate) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// Runs the pickle's building instructions.
    pub fn parse(bytes: &[u8]) -> Result<Pickle, Refusal> {
        let mut machine =
            Machine { bytes, at: 0, objects: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        let root = machine.run()?;
        Ok(Pickle { objects: machine.objects, root })
    }

    pub fn root(&self) -> &Object {
        self.get(self.root)
    }

    pub fn get(&self, id: Id) -> &Object {
        self.objects.get(id).unwrap_or(&Object::Inert)
    }

    /// The value of a text key in a dictionary.
    pub fn entry<'a>(&'a self, dict: &'a Object, key: &str) -> Option<&'a Object> {
        let Object::Dict(entries) = dict else { return None };
        // The last one counts, as in Python.
        let found = entries.iter().rev().find(|(k, _)| matches!(self.get(*k), Object::Text(text) if text == key));
        found.map(|&(_, value)| self.get(value))
    }

    /// The entries of a dictionary that are tensors under a text key.
    pub fn tensors<'a>(&'a self, dict: &'a Object) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        let entries = if let Object::Dict(entries) = dict { entries.as_slice() } else { &[] };
        entries.iter().filter_map(|&(key, value)| match (self.get(key), self.get(value)) {
            (Object::Text(key), Object::Tensor(tensor)) => Some((key.as_str(), tensor)),
            _ => None,
        })
    }
}

/// What a module and name stand for, if a checkpoint may mention them.
fn known(module: &str, name: &str) -> Option<Name> {
    let element = match (module, name) {
        ("torch", "DoubleStorage") => Element::F64,
        ("torch", "FloatStorage") => Element::F32,
        ("torch", "HalfStorage") => Element::F16,
        ("torch", "BFloat16Storage") => Element::Bf16,
        ("torch", "LongStorage") => Element::I64,
        ("torch", "IntStorage") => Element::I32,
        ("torch", "ShortStorage") => Element::I16,
        ("torch", "CharStorage") => Element::I8,
        ("torch", "ByteStorage") => Element::U8,
        ("torch", "BoolStorage") => Element::Bool,
        ("collections", "OrderedDict") => return Some(Name::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => return Some(Name::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => return Some(Name::RebuildParameter),
        ("torch", "Size") => return Some(Name::Size),
        // Training scripts save their arguments and best scores beside the weights.
        ("argparse", "Namespace")
        | ("collections", "defaultdict")
        | ("pathlib", "PosixPath")
        | ("torch", "device" | "float16" | "bfloat16" | "float32" | "float64")
        | ("numpy", "dtype")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar")
        | ("_codecs", "encode") => return Some(Name::Inert),
        _ => return None,
    };
    Some(Name::StorageType(element))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack where a variable number of arguments begins.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl Machine<'_> {
    fn malformed<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::Malformed(self.at, reason.into()))
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Refusal> {
        let Some(end) = self.at.checked_add(count).filter(|&end| end <= self.bytes.len()) else {
            return self.malformed(format!("ends within an argument of {count} bytes"));
        };
        let slice = &self.bytes[self.at..end];
        self.at = end;
        Ok(slice)
    }

    /// A little-endian unsigned number of at most 8 bytes.
    fn unsigned(&mut self, count: usize) -> Result<usize, Refusal> {
        let value = self.take(count)?.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        match usize::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => self.malformed(format!("length {value} is out of range")),
        }
    }

    fn line(&mut self) -> Result<String, Refusal> {
        let Some(length) = self.bytes[self.at..].iter().position(|&b| b == b'\n') else {
            return self.malformed("ends within a line");
        };
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.at += 1;
        Ok(text)
    }

    fn text(&mut self, length: usize) -> Result<Object, Refusal> {
        Ok(Object::Text(String::from_utf8_lossy(self.take(length)?).into_owned()))
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id, Refusal> {
        // What lies below the last mark is not for the taking.
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => Ok(self.stack.pop().unwrap_or_default()),
            false => self.malformed("takes from an empty stack"),
        }
    }

    fn top(&mut self) -> Result<Id, Refusal> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(id)
    }

    /// Everything above the last mark, and the mark with it.
    fn since_mark(&mut self) -> Result<Vec<Id>, Refusal> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => self.malformed("a mark is missing"),
        }
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<(), Refusal> {
        let target = self.top()?;
        if !items.len().is_multiple_of(2) {
            return self.malformed("a key without a value");
        }
        match &mut self.objects[target] {
            Object::Dict(entries) => entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Object::Inert => {}
            _ => return self.malformed("sets an item of something that is no dictionary"),
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Refusal> {
        let target = self.top()?;
        match &mut self.objects[target] {
            Object::Sequence(elements) => elements.extend(items),
            Object::Inert => {}
            _ => return self.malformed("appends to something that is no list"),
        }
        Ok(())
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        let known = known(module, name).ok_or_else(|| Refusal::Forbidden(format!("{module}.{name}")))?;
        self.push(Object::Name(known));
        Ok(())
    }

    fn memoize(&mut self, key: usize) -> Result<(), Refusal> {
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), Refusal> {
        match self.memo.get(&key) {
            Some(&id) => self.stack.push(id),
            None => return self.malformed(format!("refers to memo {key}, which was not set")),
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Id, Refusal> {
        loop {
            let opcode = self.take(1)?[0];
            match opcode {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.since_mark()?),
                b'2' => {
                    let id = self.top()?;
                    self.stack.push(id);
                }
                b'N' | 0x88 | 0x89 => self.push(Object::Inert),
                b'G' => {
                    self.take(8)?;
                    self.push(Object::Inert);
                }
                b'K' => self.integer(1)?,
                b'M' => self.integer(2)?,
                b'J' => {
                    let value = self.unsigned(4)? as u32 as i32;
                    self.push(Object::Int(i64::from(value)));
                }
                0x8a => self.long()?,
                b'X' => self.string(4)?,
                0x8c => self.string(1)?,
                0x8d => self.string(8)?,
                b'C' | b'U' => self.blob(1)?,
                b'B' | b'T' => self.blob(4)?,
                0x8e => self.blob(8)?,
                b'}' => self.push(Object::Dict(Vec::new())),
                b']' | b')' | 0x8f => self.push(Object::Sequence(Vec::new())),
                b't' | b'l' | 0x91 => {
                    let items = self.since_mark()?;
                    self.push(Object::Sequence(items));
                }
                0x85..=0x87 => {
                    let mut items: Vec<Id> = (0x85..=opcode).map(|_| self.pop()).collect::<Result<_, _>>()?;
                    items.reverse();
                    self.push(Object::Sequence(items));
                }
                b'd' => {
                    let items = self.since_mark()?;
                    self.push(Object::Dict(Vec::new()));
                    self.set_items(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(vec![key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set_items(items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b'q' => {
                    let key = self.unsigned(1)?;
                    self.memoize(key)?;
                }
                b'r' => {
                    let key = self.unsigned(4)?;
                    self.memoize(key)?;
                }
                0x94 => self.memoize(self.memo.len())?,
                b'h' => {
                    let key = self.unsigned(1)?;
                    self.recall(key)?;
                }
                b'j' => {
                    let key = self.unsigned(4)?;
                    self.recall(key)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.name(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (self.objects[module].clone(), self.objects[name].clone()) {
                        (Object::Text(module), Object::Text(name)) => self.name(&module, &name)?,
                        _ => return self.malformed("a name that is no text"),
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.storage(id)?;
                }
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    self.make(callable, arguments)?;
                }
                b'b' => {
                    // Attributes: metadata of a state dict, or of an inert object.
                    self.pop()?;
                    let target = self.top()?;
                    if !matches!(self.objects[target], Object::Dict(_) | Object::Inert | Object::Tensor(_)) {
                        return self.malformed("sets attributes of something that has none");
                    }
                }
                other => return self.malformed(format!("instruction 0x{other:02x} has no place in a checkpoint")),
            }
        }
    }

    fn integer(&mut self, bytes: usize) -> Result<(), Refusal> {
        let value = self.unsigned(bytes)?;
        self.push(Object::Int(value as i64));
        Ok(())
    }

    /// A signed number of any length; beyond 64 bits it can be no size or offset.
    fn long(&mut self) -> Result<(), Refusal> {
        let length = self.unsigned(1)?;
        let bytes = self.take(length)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        let object = if bytes.len() <= 8 {
            wide[..bytes.len()].copy_from_slice(bytes);
            Object::Int(i64::from_le_bytes(wide))
        } else {
            Object::Inert
        };
        self.push(object);
        Ok(())
    }

    fn string(&mut self, length_bytes: usize) -> Result<(), Refusal> {
        let length = self.unsigned(length_bytes)?;
        let text = self.text(length)?;
        self.push(text);
        Ok(())
    }

    fn blob(&mut self, length_bytes: usize) -> Result<(), Refusal> {
        let length = self.unsigned(length_bytes)?;
        self.take(length)?;
        self.push(Object::Inert);
        Ok(())
    }

    fn sequence(&self, id: Id) -> Option<&[Id]> {
        if let Object::Sequence(items) = &self.objects[id] { Some(items) } else { None }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.sequence(id)?.iter().map(|&id| self.size(id)).collect()
    }

    fn size(&self, id: Id) -> Option<usize> {
        if let Object::Int(value) = self.objects[id] { usize::try_from(value).ok() } else { None }
    }

    /// A persistent id: ("storage", type, key, device, count).
    fn storage(&mut self, id: Id) -> Result<(), Refusal> {
        let storage = self.sequence(id).and_then(|items| {
            let [kind, element, key, _, count] = *items else { return None };
            match (&self.objects[kind], &self.objects[element], &self.objects[key]) {
                (Object::Text(kind), Object::Name(Name::StorageType(element)), Object::Text(key))
                    if kind == "storage" =>
                {
                    Some(Storage { key: key.clone(), element: *element, count: self.size(count)? })
                }
                _ => None,
            }
        });
        match storage {
            Some(storage) => self.push(Object::Storage(storage)),
            None => return self.malformed("a persistent id that is no storage"),
        }
        Ok(())
    }

    /// What a call of a known name would give.
    fn make(&mut self, callable: Id, arguments: Id) -> Result<(), Refusal> {
        let Object::Name(name) = self.objects[callable] else {
            return self.malformed("calls something that is no name");
        };
        let Some(arguments) = self.sequence(arguments).map(<[Id]>::to_vec) else {
            return self.malformed("calls with arguments that are no tuple");
        };
        let object = match name {
            Name::OrderedDict => Object::Dict(Vec::new()),
            Name::Inert => Object::Inert,
            Name::Size => match arguments.first().map(|&id| self.objects[id].clone()) {
                Some(sizes @ Object::Sequence(_)) => sizes,
                _ => return self.malformed("a size that is no tuple"),
            },
            Name::RebuildParameter => match arguments.first().map(|&id| self.objects[id].clone()) {
                Some(tensor @ Object::Tensor(_)) => tensor,
                _ => return self.malformed("a parameter that is no tensor"),
            },
            Name::RebuildTensor => self.tensor(&arguments)?,
            Name::StorageType(_) => return self.malformed("a storage outside the archive"),
        };
        self.push(object);
        Ok(())
    }

    /// A tensor of (storage, offset, shape, strides, ...); every element must lie within the storage.
    fn tensor(&self, arguments: &[Id]) -> Result<Object, Refusal> {
        let parsed = || {
            let [storage, offset, shape, strides, ..] = *arguments else { return None };
            let Object::Storage(storage) = &self.objects[storage] else { return None };
            let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
            (shape.len() == strides.len()).then_some(())?;
            Some(Tensor { storage: storage.clone(), offset: self.size(offset)?, shape, strides })
        };
        let Some(tensor) = parsed() else { return self.malformed("a tensor whose arguments are not those of one") };
        let empty = tensor.shape.contains(&0);
        let last = tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset, |last, (&size, &stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
        });
        let count = tensor.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        // A stride of 0 repeats elements: no state dict does, and a short file could claim a huge tensor.
        let fits =
            last.is_some_and(|last| last < tensor.storage.count) && count.is_some_and(|c| c <= tensor.storage.count);
        if !empty && !fits {
            return self.malformed(format!(
                "a tensor of shape {:?} beyond its storage of {}",
                tensor.shape, tensor.storage.count
            ));
        }
        Ok(Object::Tensor(tensor))
    }
}
