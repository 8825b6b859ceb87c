//! Checkpoint files written instruction by instruction, as `torch.save` writes them.

use std::io::{Cursor, Write as _};

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn number(value: usize) -> Vec<u8> {
    [&b"\x8a\x08"[..], &(value as i64).to_le_bytes()].concat()
}

fn tuple(values: &[usize]) -> Vec<u8> {
    [b"(".to_vec(), values.iter().flat_map(|&value| number(value)).collect(), b"t".to_vec()].concat()
}

/// A contiguous float32 tensor of a storage; `view` is what stands behind the number of elements in its persistent id.
fn tensor(key: &str, count: usize, view: &[u8], shape: &[usize]) -> Vec<u8> {
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .scan(1usize, |next, &length| {
            let stride = *next;
            *next = next.wrapping_mul(length);
            Some(stride)
        })
        .collect();
    strides.reverse();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text(key),
        text("cpu"),
        number(count),
        view.to_vec(),
        b"tQ".to_vec(),
        number(0),
        tuple(shape),
        tuple(&strides),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// A state dict of one tensor `w` under `state_dict`, beside another object under `beside`.
pub(crate) fn checkpoint(key: &str, count: usize, shape: &[usize], beside: &[u8]) -> Vec<u8> {
    let weights = [b"ccollections\nOrderedDict\n)R".to_vec(), text("w"), tensor(key, count, b"", shape), b"s".to_vec()];
    [b"\x80\x02}(".to_vec(), text("beside"), beside.to_vec(), text("state_dict"), weights.concat(), b"u.".to_vec()]
        .concat()
}

/// A state dict of one tensor `w` whose storage is a view of another.
pub(crate) fn state_dict_of_view(key: &str, count: usize, view: &[u8], shape: &[usize]) -> Vec<u8> {
    [b"\x80\x02}".to_vec(), text("w"), tensor(key, count, view, shape), b"s.".to_vec()].concat()
}

/// A zip file with a pickle and storages.
pub(crate) fn archive(pickle: &[u8], storages: &[(&str, &[f32])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    for (key, numbers) in storages {
        zip.start_file(format!("archive/data/{key}"), stored).unwrap();
        zip.write_all(&bytes(numbers)).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A file of the format before PyTorch 1.6.
pub(crate) fn legacy(pickle: &[u8], storages: &[(&str, &[f32])]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend([b"\x80\x02}(".to_vec(), text("protocol_version"), b"M\xe9\x03".to_vec()].concat());
    file.extend([text("little_endian"), b"\x88u.".to_vec()].concat());
    file.extend(pickle);
    file.extend(b"\x80\x02](");
    storages.iter().for_each(|(key, _)| file.extend(text(key)));
    file.extend(b"e.");
    for (_, numbers) in storages {
        file.extend((numbers.len() as u64).to_le_bytes());
        file.extend(bytes(numbers));
    }
    file
}

/// A state dict of these tensors (key, numbers, shape) in the format before PyTorch 1.6, each in a storage of its own.
pub(crate) fn legacy_state_dict(tensors: &[(&str, Vec<f32>, Vec<usize>)]) -> Vec<u8> {
    let keys: Vec<String> = (0..tensors.len()).map(|i| (1_000_000 + i).to_string()).collect();
    let entries = tensors
        .iter()
        .zip(&keys)
        .flat_map(|((name, numbers, shape), key)| [text(name), tensor(key, numbers.len(), b"N", shape)].concat());
    let pickle = [b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec(), entries.collect(), b"u.".to_vec()].concat();
    let storages: Vec<(&str, &[f32])> =
        keys.iter().zip(tensors).map(|(key, (_, numbers, _))| (key.as_str(), &numbers[..])).collect();
    legacy(&pickle, &storages)
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
