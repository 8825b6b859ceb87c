//! What calls and persistent ids of a pickle stand for: storages, tensors, dictionaries, or nothing of use.

use std::io::BufRead;
use std::sync::Arc;

use super::machine::Machine;
use super::names::Name;
use super::object::{Id, MAX_NAME, MAX_RANK, Object, Refusal, Storage, Tensor};

impl<R: BufRead> Machine<R> {
    fn get(&self, id: Id) -> &Object {
        &self.objects[id as usize]
    }

    fn sequence(&self, id: Id) -> Option<&[Id]> {
        if let Object::Sequence(items) = self.get(id) { Some(items) } else { None }
    }

    fn size(&self, id: Id) -> Option<usize> {
        if let Object::Int(value) = *self.get(id) { usize::try_from(value).ok() } else { None }
    }

    /// Shape or strides of a tensor.
    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.sequence(id).filter(|items| items.len() <= MAX_RANK)?.iter().map(|&id| self.size(id)).collect()
    }

    fn text(&self, id: Id) -> Option<&str> {
        if let Object::Text(text) = self.get(id) { Some(text) } else { None }
    }

    /// A persistent id: ("storage", type, key, device, count), before PyTorch 1.6 with a view behind it; or
    /// ("module", class, file, source), which stands for the class.
    pub(super) fn persistent(&mut self, id: Id) -> Result<(), Refusal> {
        let items = self.sequence(id).unwrap_or_default();
        match (items.first().and_then(|&kind| self.text(kind)), items) {
            (Some("module"), &[_, class, ..]) => self.push_id(class),
            // Storages of complex or quantised numbers: nothing that a network of the family has.
            (Some("storage"), &[_, class, ..]) if matches!(self.get(class), Object::Name(Name::Foreign { .. })) => {
                self.push(Object::Foreign(class))
            }
            (Some("storage"), &[_, class, key, _, count, ref view @ ..]) => {
                let view = view.first().copied();
                match self.storage(class, key, count, view) {
                    Some(storage) => self.push(Object::Storage(Box::new(storage))),
                    None => self.input.malformed("a storage whose arguments are not those of one"),
                }
            }
            _ => self.input.malformed("a persistent id that is no storage"),
        }
    }

    fn storage(&self, class: Id, key: Id, count: Id, view: Option<Id>) -> Option<Storage> {
        let Object::Name(Name::StorageType(element)) = *self.get(class) else { return None };
        let key = self.text(key).filter(|key| key.len() <= MAX_NAME)?;
        let count = self.size(count)?;
        isize::try_from(count.checked_mul(element.size())?).ok()?;
        let window = match view.and_then(|view| self.sequence(view)) {
            None => (0, count),
            Some(&[_, start, length]) => {
                let (start, length) = (self.size(start)?, self.size(length)?);
                (start.checked_add(length)? <= count).then_some((start, length))?
            }
            Some(_) => return None,
        };
        Some(Storage { key: Arc::from(key), element, count, window })
    }

    /// Puts on the stack what a call of a name would give.
    pub(super) fn make(&mut self, callable: Id, arguments: Id) -> Result<(), Refusal> {
        let Object::Name(name) = *self.get(callable) else {
            return self.input.malformed("calls something that is no name");
        };
        let Some(items) = self.sequence(arguments) else {
            return self.input.malformed("calls with arguments that are no tuple");
        };
        let first = items.first().copied();
        match name {
            Name::Foreign { .. } => self.push(Object::Foreign(callable)),
            Name::Dict => self.dict(first),
            Name::Size => match first {
                Some(sizes) if self.sequence(sizes).is_some() => self.push_id(sizes),
                _ => self.input.malformed("a size that is no tuple"),
            },
            Name::RebuildParameter => match first {
                Some(tensor) if matches!(self.get(tensor), Object::Tensor(_) | Object::Foreign(_)) => {
                    self.push_id(tensor)
                }
                _ => self.input.malformed("a parameter that is no tensor"),
            },
            Name::RebuildFromType => match *items {
                // One level only: the call within must be a plain one.
                [inner, _, arguments, ..] if !matches!(self.get(inner), Object::Name(Name::RebuildFromType)) => {
                    self.make(inner, arguments)
                }
                _ => self.input.malformed("a tensor of a type whose arguments are not those of one"),
            },
            Name::RebuildTensor => match first {
                Some(storage) if matches!(self.get(storage), Object::Foreign(_)) => {
                    self.push(Object::Foreign(callable))
                }
                _ => self.tensor(arguments),
            },
            Name::StorageType(_) => self.input.malformed("a storage outside the archive"),
        }
    }

    /// An empty dictionary; or one of pairs, as Python 2 writes an ordered one.
    fn dict(&mut self, pairs: Option<Id>) -> Result<(), Refusal> {
        let pairs = pairs.and_then(|pairs| self.sequence(pairs)).unwrap_or_default();
        let pair = |&id: &Id| if let Some(&[key, value]) = self.sequence(id) { Some((key, value)) } else { None };
        // Anything else, as the factory of a default dictionary, is no part of what it holds.
        let entries: Vec<(Id, Id)> = pairs.iter().map_while(pair).collect();
        // A list of pairs can be used again and again, so what is copied from it counts.
        self.spend(entries.len())?;
        self.push(Object::Dict(entries))
    }

    /// A tensor of (storage, offset, shape, strides, ...); every element must lie within the storage.
    fn tensor(&mut self, arguments: Id) -> Result<(), Refusal> {
        let Some(tensor) = self.view(arguments) else {
            return self.input.malformed("a tensor whose arguments are not those of one");
        };
        let (start, length) = tensor.storage.window;
        let empty = tensor.shape.contains(&0);
        let last =
            tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset - start, |last, (&size, &stride)| {
                last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
            });
        let count = tensor.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        // A stride of 0 repeats elements: no state dict does, and a short file could claim a huge tensor.
        let fits = last.is_some_and(|last| last < length) && count.is_some_and(|count| count <= length);
        if !empty && !fits {
            return self
                .input
                .malformed(format!("a tensor of shape {:?} beyond its storage of {length}", tensor.shape));
        }
        self.push(Object::Tensor(Box::new(tensor)))
    }

    fn view(&self, arguments: Id) -> Option<Tensor> {
        let &[storage, offset, shape, strides, ..] = self.sequence(arguments)? else { return None };
        let Object::Storage(storage) = self.get(storage) else { return None };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        let offset = storage.window.0.checked_add(self.size(offset)?)?;
        Some(Tensor { storage: Storage::clone(storage), offset, shape, strides })
    }
}
