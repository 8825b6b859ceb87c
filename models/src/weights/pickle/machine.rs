//! The stack machine: one instruction after the other, until the one that ends the pickle.

use std::collections::HashMap;
use std::io::BufRead;

use super::input::Input;
use super::names;
use super::object::{Id, MAX_NAME, MAX_OBJECTS, Object, Refusal};

/// Objects that every pickle may use without making them.
const INERT: Id = 0;
const FALSE: Id = 1;
const TRUE: Id = 2;

/// The number 0x1950a86a20f9469cfc6c, little-endian.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

pub(super) struct Machine<R> {
    pub(super) input: Input<R>,
    pub(super) objects: Vec<Object>,
    /// Objects made and references kept; bounded, so that no pickle takes more memory than its length explains.
    spent: usize,
    stack: Vec<Id>,
    /// Heights of the stack where a variable number of arguments begins.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl<R: BufRead> Machine<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        let objects = vec![Object::Inert, Object::Bool(false), Object::Bool(true)];
        Self { input, objects, spent: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// The objects made, and the number of bytes taken.
    pub(super) fn finish(self) -> (Vec<Object>, u64) {
        (self.objects, self.input.at())
    }

    /// Runs up to the end of the pickle and returns what it stands for.
    pub(super) fn run(&mut self) -> Result<Id, Refusal> {
        loop {
            let [opcode] = self.input.array()?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => self.input.skip(1)?,
                0x95 => self.input.skip(8)?,
                b'(' | b'0' | b'1' | b'2' => self.move_stack(opcode)?,
                b'N' | 0x88 | 0x89 | b'G' | b'K' | b'M' | b'J' | 0x8a | 0x8b => self.number(opcode)?,
                b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.string(opcode)?,
                b'}' | b']' | b')' | 0x8f | b't' | b'l' | 0x91 | 0x85..=0x87 | b'd' => self.collection(opcode)?,
                b's' | b'u' | b'a' | b'e' | 0x90 => self.fill(opcode)?,
                b'q' | b'r' | 0x94 | b'h' | b'j' => self.remember(opcode)?,
                b'c' | 0x93 | b'Q' | b'R' | 0x81 | 0x92 | b'i' | b'o' | b'b' => self.call(opcode)?,
                other => {
                    return self.input.malformed(format!("instruction 0x{other:02x} has no place in a checkpoint"));
                }
            }
        }
    }

    /// Marks, duplicates and drops.
    fn move_stack(&mut self, opcode: u8) -> Result<(), Refusal> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            _ => {
                let id = self.top()?;
                self.push_id(id)?;
            }
        }
        Ok(())
    }

    /// None, booleans and numbers.
    fn number(&mut self, opcode: u8) -> Result<(), Refusal> {
        let value = match opcode {
            b'N' => return self.push_id(INERT),
            0x88 => return self.push_id(TRUE),
            0x89 => return self.push_id(FALSE),
            b'G' => {
                self.input.skip(8)?;
                return self.push_id(INERT);
            }
            b'K' => i64::from(self.input.array::<1>()?[0]),
            b'M' => i64::from(u16::from_le_bytes(self.input.array()?)),
            b'J' => i64::from(i32::from_le_bytes(self.input.array()?)),
            _ => {
                let length = if opcode == 0x8a { self.input.unsigned::<1>()? } else { self.input.unsigned::<4>()? };
                return self.long(length);
            }
        };
        self.push(Object::Int(value))
    }

    /// A signed number of any length; beyond 64 bits it can be no size or offset.
    fn long(&mut self, length: usize) -> Result<(), Refusal> {
        let bytes = self.input.bytes(length)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        if let Some(low) = wide.get_mut(..bytes.len()) {
            low.copy_from_slice(&bytes);
            return self.push(Object::Int(i64::from_le_bytes(wide)));
        }
        if bytes == LEGACY_MAGIC { self.push(Object::LegacyMagic) } else { self.push_id(INERT) }
    }

    /// Texts and byte strings. Those of Python 2 were texts to whoever wrote them.
    fn string(&mut self, opcode: u8) -> Result<(), Refusal> {
        let length = match opcode {
            0x8c | b'U' | b'C' => self.input.unsigned::<1>()?,
            0x8d | 0x8e | 0x96 => self.input.unsigned::<8>()?,
            _ => self.input.unsigned::<4>()?,
        };
        if matches!(opcode, b'C' | b'B' | 0x8e | 0x96) {
            self.input.skip(length)?;
            return self.push_id(INERT);
        }
        let bytes = self.input.bytes(length)?;
        let text =
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        self.push(Object::Text(text))
    }

    /// Empty collections, and those of what is on the stack.
    fn collection(&mut self, opcode: u8) -> Result<(), Refusal> {
        let items = match opcode {
            b'}' => return self.push(Object::Dict(Vec::new())),
            b']' | b')' | 0x8f => Vec::new(),
            b'd' => {
                let items = self.since_mark()?;
                self.push(Object::Dict(Vec::new()))?;
                return self.set_items(items);
            }
            0x85..=0x87 => {
                let mut items: Vec<Id> = (0x85..=opcode).map(|_| self.pop()).collect::<Result<_, _>>()?;
                items.reverse();
                items
            }
            _ => self.since_mark()?,
        };
        self.push(Object::Sequence(items))
    }

    /// Adds to the collection on top of the stack.
    fn fill(&mut self, opcode: u8) -> Result<(), Refusal> {
        match opcode {
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(items)
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            _ => {
                let items = self.since_mark()?;
                self.append(items)
            }
        }
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<(), Refusal> {
        let target = self.top()?;
        if !items.len().is_multiple_of(2) {
            return self.input.malformed("a key without a value");
        }
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        match &mut self.objects[target as usize] {
            Object::Dict(entries) => entries.extend(pairs),
            // A dictionary of some other class.
            object @ Object::Foreign(_) => *object = Object::Dict(pairs.collect()),
            _ => return self.input.malformed("sets an item of something that is no dictionary"),
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Refusal> {
        let target = self.top()?;
        match &mut self.objects[target as usize] {
            Object::Sequence(elements) => elements.extend(items),
            Object::Foreign(_) => {}
            _ => return self.input.malformed("appends to something that is no list"),
        }
        Ok(())
    }

    /// The memo, by which objects are met again.
    fn remember(&mut self, opcode: u8) -> Result<(), Refusal> {
        let key = match opcode {
            b'q' | b'h' => self.input.unsigned::<1>()?,
            b'r' | b'j' => self.input.unsigned::<4>()?,
            _ => self.memo.len(),
        };
        if matches!(opcode, b'h' | b'j') {
            return match self.memo.get(&key) {
                Some(&id) => self.push_id(id),
                None => self.input.malformed(format!("refers to memo {key}, which was not set")),
            };
        }
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    /// Names, calls, and what follows them.
    fn call(&mut self, opcode: u8) -> Result<(), Refusal> {
        match opcode {
            b'c' => {
                let name = self.global()?;
                self.push_id(name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let id = self.name(module, name)?;
                self.push_id(id)
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.make(callable, arguments)
            }
            0x92 => {
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.make(callable, arguments)
            }
            b'i' => {
                let arguments = self.since_mark()?;
                let class = self.global()?;
                let arguments = self.add(Object::Sequence(arguments))?;
                self.make(class, arguments)
            }
            b'o' => {
                let mut arguments = self.since_mark()?;
                if arguments.is_empty() {
                    return self.input.malformed("makes an object of no class");
                }
                let class = arguments.remove(0);
                let arguments = self.add(Object::Sequence(arguments))?;
                self.make(class, arguments)
            }
            // Attributes: metadata of a state dict, or of an inert object.
            _ => {
                self.pop()?;
                let target = self.top()?;
                match self.objects[target as usize] {
                    Object::Dict(_) | Object::Foreign(_) | Object::Tensor(_) | Object::Sequence(_) => Ok(()),
                    _ => self.input.malformed("sets attributes of something that has none"),
                }
            }
        }
    }

    /// A name whose module and name stand in the instruction.
    fn global(&mut self) -> Result<Id, Refusal> {
        let (module, name) = (self.input.line(MAX_NAME)?, self.input.line(MAX_NAME)?);
        let (module, name) = (self.add(Object::Text(module))?, self.add(Object::Text(name))?);
        self.name(module, name)
    }

    fn name(&mut self, module_id: Id, name_id: Id) -> Result<Id, Refusal> {
        let (Object::Text(module), Object::Text(name)) =
            (&self.objects[module_id as usize], &self.objects[name_id as usize])
        else {
            return self.input.malformed("a name that is no text");
        };
        if module.len().max(name.len()) > MAX_NAME {
            return self.input.malformed(format!("a name of more than {MAX_NAME} bytes"));
        }
        if names::is_forbidden(module, name) {
            return Err(Refusal::Forbidden(format!("{module}.{name}")));
        }
        let foreign = names::Name::Foreign { module: module_id, name: name_id };
        let name = names::known(module, name).unwrap_or(foreign);
        self.add(Object::Name(name))
    }

    /// Counts `count` objects or references more.
    pub(super) fn spend(&mut self, count: usize) -> Result<(), Refusal> {
        self.spent = self.spent.saturating_add(count);
        if self.spent > MAX_OBJECTS {
            return self.input.malformed(format!("more than {MAX_OBJECTS} objects"));
        }
        Ok(())
    }

    /// Keeps an object without putting it on the stack.
    pub(super) fn add(&mut self, object: Object) -> Result<Id, Refusal> {
        self.spend(1)?;
        let id = self.objects.len() as Id;
        self.objects.push(object);
        Ok(id)
    }

    pub(super) fn push(&mut self, object: Object) -> Result<(), Refusal> {
        let id = self.add(object)?;
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn push_id(&mut self, id: Id) -> Result<(), Refusal> {
        self.spend(1)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Refusal> {
        // What lies below the last mark is not for the taking.
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => self.input.malformed("takes from an empty stack"),
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
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => self.input.malformed("a mark is missing"),
        }
    }
}
