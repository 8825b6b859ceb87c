//! The part of Python's pickle language a PyTorch checkpoint is written in, read without executing any of it.
//!
//! A pickle is a program for a stack machine. This one knows the instructions that build data. Names of Python objects
//! become data too: the few that matter are tensors and their storages, any other is inert, and so is whatever is made
//! by calling it. A short list of names that no honest checkpoint mentions is refused, so that the reader of the message
//! learns what kind of file it is; safety does not rest on that list.
//!
//! What a pickle may cost is bounded by its length: objects refer to each other by index and are never copied, and there
//! is a limit on their number.

mod build;
mod input;
mod machine;
mod names;
mod object;

use std::io::BufRead;

use input::Input;
use machine::Machine;
pub(crate) use names::Name;
pub(crate) use object::{Id, Object, Refusal, Storage, Tensor};

/// The objects of a pickle; `root` is the one it stands for.
#[derive(Debug)]
pub(crate) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// Runs the building instructions of the pickle at the reader's position, `length` bytes at most, up to its end.
    /// Returns the number of bytes it took besides.
    pub(super) fn read(reader: &mut impl BufRead, length: u64) -> Result<(Pickle, u64), Refusal> {
        let mut machine = Machine::new(Input::new(reader, length));
        let root = machine.run()?;
        let (objects, taken) = machine.finish();
        Ok((Pickle { objects, root }, taken))
    }

    pub(super) fn root(&self) -> &Object {
        self.get(self.root)
    }

    pub(super) fn get(&self, id: Id) -> &Object {
        self.objects.get(id as usize).unwrap_or(&Object::Inert)
    }

    /// Every storage that the pickle mentions, in no order.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects
            .iter()
            .filter_map(|object| if let Object::Storage(storage) = object { Some(&**storage) } else { None })
    }

    /// The value of a text key in a dictionary.
    pub(super) fn entry<'a>(&'a self, dict: &'a Object, key: &str) -> Option<&'a Object> {
        let Object::Dict(entries) = dict else { return None };
        // The last one counts, as in Python.
        let found = entries.iter().rev().find(|(k, _)| matches!(self.get(*k), Object::Text(text) if text == key));
        found.map(|&(_, value)| self.get(value))
    }

    /// The entries of a dictionary that are tensors under a text key.
    pub(super) fn tensors<'a>(&'a self, dict: &'a Object) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        let entries = if let Object::Dict(entries) = dict { entries.as_slice() } else { &[] };
        entries.iter().filter_map(|&(key, value)| match (self.get(key), self.get(value)) {
            (Object::Text(key), Object::Tensor(tensor)) => Some((key.as_str(), &**tensor)),
            _ => None,
        })
    }

    /// The elements of a tuple, list or set of texts; `None` if it is anything else.
    pub(super) fn texts<'a>(&'a self, object: &'a Object) -> Option<Vec<&'a str>> {
        let Object::Sequence(items) = object else { return None };
        items.iter().map(|&id| if let Object::Text(text) = self.get(id) { Some(text.as_str()) } else { None }).collect()
    }

    /// Module and name of what an object was made from, if weights do not depend on it.
    pub(super) fn class(&self, object: &Object) -> Option<String> {
        let Object::Foreign(name) = *object else { return None };
        let Object::Name(Name::Foreign { module, name }) = *self.get(name) else { return None };
        match (self.get(module), self.get(name)) {
            (Object::Text(module), Object::Text(name)) => Some(format!("{module}.{name}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::object::{MAX_NAME, MAX_OBJECTS, MAX_RANK};
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Pickle, Refusal> {
        Pickle::read(&mut &*bytes, bytes.len() as u64).map(|(pickle, _)| pickle)
    }

    fn text(text: &str) -> Vec<u8> {
        [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    /// `('storage', FloatStorage, key, 'cpu', count)` as a persistent id.
    fn storage(key: &str, count: u8) -> Vec<u8> {
        [
            b"(".to_vec(),
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text(key),
            text("cpu"),
            vec![b'K', count],
            b"tQ".to_vec(),
        ]
        .concat()
    }

    /// A tensor of `shape` and `strides`, both already as pickled tuples.
    fn tensor(storage: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            storage,
            b"K\x00",
            shape,
            strides,
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
        .concat()
    }

    fn state_dict(tensor: &[u8]) -> Vec<u8> {
        [b"\x80\x02}", text("w").as_slice(), tensor, b"s."].concat()
    }

    fn read_tensor(bytes: &[u8]) -> Result<Option<Tensor>, Refusal> {
        let pickle = parse(bytes)?;
        Ok(pickle.tensors(pickle.root()).next().map(|(_, tensor)| tensor.clone()))
    }

    #[test]
    fn pickle_reads_a_tensor() {
        let tensor = read_tensor(&state_dict(&tensor(&storage("0", 6), b"K\x02K\x03\x86", b"K\x03K\x01\x86")));
        let tensor = tensor.unwrap().unwrap();
        assert_eq!((tensor.shape, tensor.strides, tensor.offset), (vec![2, 3], vec![3, 1], 0));
        assert_eq!((&*tensor.storage.key, tensor.storage.count), ("0", 6));
    }

    #[test]
    fn pickle_refuses_tensors_beyond_their_storage() {
        let huge = b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00";
        for (shape, strides) in [
            (&b"K\x02K\x04\x86"[..], &b"K\x04K\x01\x86"[..]),
            (b"K\x07\x85", b"K\x00\x85"),
            (b"K\x07\x85", b"K\x01\x85"),
            (b"K\x02K\x02\x86", b"K\x01\x85"),
            (&[huge.as_slice(), b"\x85"].concat(), b"K\x01\x85"),
            (b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        ] {
            let refused = read_tensor(&state_dict(&tensor(&storage("0", 6), shape, strides)));
            assert!(matches!(refused, Err(Refusal::Malformed(..))), "{shape:?} {strides:?}: {refused:?}");
        }
    }

    #[test]
    fn pickle_refuses_long_storage_keys_and_ranks() {
        let long = "k".repeat(MAX_NAME + 1);
        let of_key = |key: &str| read_tensor(&state_dict(&tensor(&storage(key, 6), b"K\x06\x85", b"K\x01\x85")));
        assert!(of_key(&long[1..]).is_ok());
        assert!(matches!(of_key(&long), Err(Refusal::Malformed(..))));
        let ones = |rank: usize| [&b"("[..], &b"K\x01".repeat(rank), b"t"].concat();
        let of_rank = |rank: usize| read_tensor(&state_dict(&tensor(&storage("0", 6), &ones(rank), &ones(rank))));
        assert!(of_rank(MAX_RANK).is_ok());
        assert!(matches!(of_rank(MAX_RANK + 1), Err(Refusal::Malformed(..))));
    }

    #[test]
    fn pickle_shares_the_key_of_a_storage_between_its_tensors() {
        // The storage is memoised once and recalled by the second tensor.
        let first = tensor(&[storage("0", 6).as_slice(), b"q\x01"].concat(), b"K\x06\x85", b"K\x01\x85");
        let second = tensor(b"h\x01", b"K\x06\x85", b"K\x01\x85");
        let bytes = [b"\x80\x02}(", text("a").as_slice(), &first, &text("b"), &second, b"u."].concat();
        let pickle = parse(&bytes).unwrap();
        let tensors: Vec<&Tensor> = pickle.tensors(pickle.root()).map(|(_, tensor)| tensor).collect();
        assert!(Arc::ptr_eq(&tensors[0].storage.key, &tensors[1].storage.key));
    }

    #[test]
    fn pickle_takes_dictionaries_of_other_classes_as_dictionaries() {
        for class in
            [&b"ccollections\nOrderedDict\n)R"[..], b"ccollections\ndefaultdict\n)R", b"ceasydict\nEasyDict\n)\x81"]
        {
            let tensor = tensor(&storage("0", 6), b"K\x06\x85", b"K\x01\x85");
            let bytes = [b"\x80\x02", class, &text("w"), &tensor, b"s."].concat();
            assert!(read_tensor(&bytes).unwrap().is_some(), "{class:?}");
        }
    }

    #[test]
    fn pickle_reads_ordered_dictionaries_of_python_2() {
        // OrderedDict([['w', tensor]]), with the key as a byte string.
        let tensor = tensor(&storage("0", 6), b"K\x06\x85", b"K\x01\x85");
        let bytes = [b"\x80\x02ccollections\nOrderedDict\n]](U\x01w", tensor.as_slice(), b"ea\x85R."].concat();
        assert!(read_tensor(&bytes).unwrap().is_some());
    }

    #[test]
    fn pickle_keeps_the_class_of_a_whole_model() {
        let pickle = parse(b"\x80\x02cmodels.net\nNet\n)\x81}b.").unwrap();
        assert_eq!(pickle.class(pickle.root()).as_deref(), Some("models.net.Net"));
        assert_eq!(pickle.class(&Object::Inert), None);
    }

    #[test]
    fn pickle_of_many_objects_is_refused_before_they_are_made() {
        let mut bytes = b"\x80\x02".to_vec();
        bytes.resize(MAX_OBJECTS + 100, b'}');
        assert!(matches!(parse(&bytes), Err(Refusal::Malformed(_, reason)) if reason.contains("objects")));
    }

    /// Instructions and arguments as they occur, in any order.
    fn instructions() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<Vec<u8>> = [
            &b"("[..],
            b"0",
            b"1",
            b"2",
            b"N",
            b"\x88",
            b"\x89",
            b"K\x03",
            b"M\x00\x01",
            b"J\xff\xff\xff\xff",
            b"\x8a\x01\xff",
            b"X\x01\x00\x00\x00w",
            b"U\x01k",
            b"}",
            b"]",
            b")",
            b"\x8f",
            b"t",
            b"l",
            b"\x91",
            b"\x85",
            b"\x86",
            b"\x87",
            b"d",
            b"s",
            b"u",
            b"a",
            b"e",
            b"\x90",
            b"q\x00",
            b"h\x00",
            b"\x94",
            b"ctorch\nFloatStorage\n",
            b"ccollections\nOrderedDict\n",
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"ctorch\nSize\n",
            b"cx\ny\n",
            b"\x93",
            b"Q",
            b"R",
            b"\x81",
            b"\x92",
            b"b",
            b".",
        ]
        .map(<[u8]>::to_vec)
        .into();
        prop::collection::vec(prop::sample::select(pieces), 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn pickle_of_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn pickle_of_any_instructions_never_panics(bytes in instructions()) {
            let _ = parse(&bytes);
        }

        #[test]
        fn pickle_mutated_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = state_dict(&tensor(&storage("0", 6), b"K\x02K\x03\x86", b"K\x03K\x01\x86"));
            let position = at.index(bytes.len());
            bytes[position] = byte;
            let _ = parse(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = parse(&bytes);
        }
    }
}
