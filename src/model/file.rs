//! Reading a model file, once and within a bound, and saying what it is if it is no ONNX model.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::ModelError;

/// The whole file; pipes are read to their end.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source: io::Error| ModelError::Read { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    let known = file.metadata().map_err(unreadable)?;
    if known.is_dir() {
        return Err(unreadable(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(known.len().min(most)).unwrap_or(0));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(ModelError::TooLarge { path: path.into(), limit: most });
    }
    Ok(bytes)
}

/// What a file is that people take for a model, and what to do about it.
pub(super) fn other_kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let begins = |prefix: &[u8]| bytes.starts_with(prefix);
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    let text = bytes.trim_ascii_start();
    let lower = text[..text.len().min(64)].to_ascii_lowercase();
    let page = [&b"<!doctype"[..], b"<html", b"<head", b"<?xml", b"<!--"].iter().any(|tag| lower.starts_with(tag));
    Some(if begins(b"version https://git-lfs") {
        ("a git-lfs pointer, not the file that it stands for", "run `git lfs pull` in the clone")
    } else if page {
        ("a web page or XML", "download the file itself, by the link to its raw content")
    } else if begins(b"PK\x03\x04") && (holds(b"constants.pkl") || holds(b"/code/")) {
        ("a TorchScript archive", "export the model with torch.onnx.export")
    } else if begins(b"PK\x03\x04") && holds(b"data.pkl") {
        ("a PyTorch checkpoint", "build the model, load these weights and export it with torch.onnx.export")
    } else if begins(b"PK\x03\x04") {
        ("a zip archive", "unpack it, or export the model to ONNX")
    } else if bytes.get(4..8) == Some(b"TFL3") {
        ("a TensorFlow Lite model", "export the model to ONNX, for instance with tf2onnx")
    } else if bytes.get(4..8) == Some(b"ORTM") {
        ("a model in ONNX Runtime's own format", "use the .onnx file it was made of")
    } else if begins(b"\x80\x02") || begins(b"\x80\x04") {
        ("a Python pickle", "export the model with torch.onnx.export")
    } else if begins(b"\x89HDF") {
        ("an HDF5 file, as Keras writes", "export the model to ONNX, for instance with tf2onnx")
    } else if bytes.get(8) == Some(&b'{') && bytes.get(7) == Some(&0) {
        ("a safetensors file, which holds weights and no graph", "export the model to ONNX")
    } else if begins(b"GGUF") {
        ("a GGUF file", "export the model to ONNX")
    } else if begins(b"\x1f\x8b") || begins(b"BZh") || begins(b"\xfd7zXZ") || begins(b"\x28\xb5\x2f\xfd") {
        ("a compressed file", "unpack it")
    } else if begins(b"\x89PNG") || begins(b"\xff\xd8\xff") || begins(b"GIF8") {
        ("a picture", "name the model, not an image")
    } else if begins(b"\x7fELF") {
        ("a program", "name the model")
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_are_told_apart() {
        let of = |bytes: &[u8]| other_kind(bytes).map(|(kind, _)| kind);
        assert!(of(b"version https://git-lfs.github.com/spec/v1\n").unwrap().contains("git-lfs"));
        assert!(of(b"\n <!DOCTYPE html><html>").unwrap().contains("web page"));
        assert!(of(b"PK\x03\x04....model/code/__torch__.py").unwrap().contains("TorchScript"));
        assert!(of(b"PK\x03\x04....model/data.pkl").unwrap().contains("checkpoint"));
        assert!(of(b"\x1c\0\0\0TFL3").unwrap().contains("Lite"));
        assert!(of(b"\x80\x02}q").unwrap().contains("pickle"));
        // An ONNX model begins with its version.
        assert_eq!(of(&[8, 8, 18, 7]), None);
        assert_eq!(of(b""), None);
    }

    #[test]
    fn reads_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, [0; 100]).unwrap();
        assert_eq!(read(&path, 100).unwrap().len(), 100);
        assert!(matches!(read(&path, 99), Err(ModelError::TooLarge { limit: 99, .. })));
        assert!(matches!(read(folder.path(), 99), Err(ModelError::Read { .. })));
    }
}
