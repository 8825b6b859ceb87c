//! Names and messages made safe to show: what a file is called must not move the cursor or forge a line.

use std::borrow::Cow;
use std::path::Path;

/// A path as text, lossy where it is not UTF-8: for JSON, and for [`name`].
pub(crate) fn path(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// A path for people.
pub(crate) fn shown(file: &Path) -> String {
    name(&path(file)).into_owned()
}

/// A name for people: as it is, or in quotes with escapes where it holds control characters.
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    match name.chars().any(is_control) {
        true => Cow::Owned(format!("{name:?}")),
        false => Cow::Borrowed(name),
    }
}

/// A list of names for people.
pub(crate) fn names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|each| name(each.as_ref()).into_owned()).collect::<Vec<_>>().join(", ")
}

/// A message of one or more lines: control characters are escaped, and every line but the first is indented, so that no
/// name in it can look like a message of its own.
pub(crate) fn lines(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for character in message.trim_end().chars() {
        match character {
            '\n' => text.push_str("\n  "),
            control if is_control(control) => text.extend(control.escape_default()),
            other => text.push(other),
        }
    }
    text
}

/// Control characters, and those that change the direction of what follows.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_control_characters_are_quoted() {
        assert_eq!(name("Ankle boot"), "Ankle boot");
        assert_eq!(name("Bär"), "Bär");
        assert_eq!(name("a\x1b[31mb\nc"), r#""a\u{1b}[31mb\nc""#);
        assert_eq!(names(["a", "b\r"]), r#"a, "b\r""#);
    }

    #[test]
    fn a_message_keeps_its_lines_and_escapes_the_rest() {
        assert_eq!(lines("two\nlines\x1b[2J\n"), "two\n  lines\\u{1b}[2J");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_is_shown_all_the_same() {
        use std::os::unix::ffi::OsStrExt as _;

        let file = Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9.png"));
        assert_eq!(shown(file), "caf\u{fffd}.png");
    }
}
