//! Text that others wrote (tools, servers, packets) as one line that a terminal shows and does not obey.

use std::{borrow::Cow, fmt::Write as _, io};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Would it end the line, command a terminal, or turn the direction of the text?
fn is_foreign(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with each such character written out, as `\n` or `\u{1b}`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_foreign) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_foreign(c) {
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The same, and no longer than so many octets; what is cut off is counted.
#[must_use]
pub fn escape_within(text: &str, most: usize) -> Cow<'_, str> {
    let escaped = escape(text);
    if escaped.len() <= most {
        return escaped;
    }
    let end = escaped.floor_char_boundary(most);
    Cow::Owned(format!("{} .. ({} octets more)", &escaped[..end], escaped.len() - end))
}

/// A value as one line of JSON, without its newline. Each string of it is escaped as by [`escape`] first:
/// whoever reads it may print its strings.
///
/// # Errors
/// When the value is none that JSON has.
pub fn json_line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut line, Printable))?;
    Ok(line)
}

/// JSON without blanks, in whose strings no control character is left, not even an escaped one.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // The backslash of the text is one of JSON's strings: it must be escaped itself.
        match escape(fragment) {
            Cow::Borrowed(same) => writer.write_all(same.as_bytes()),
            Cow::Owned(escaped) => writer.write_all(escaped.replace('\\', "\\\\").as_bytes()),
        }
    }

    fn write_char_escape<W>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let escaped: &[u8] = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"/",
            CharEscape::Backspace => b"\\\\u{8}",
            CharEscape::FormFeed => b"\\\\u{c}",
            CharEscape::LineFeed => b"\\\\n",
            CharEscape::CarriageReturn => b"\\\\r",
            CharEscape::Tab => b"\\\\t",
            CharEscape::AsciiControl(octet) => return write!(writer, "\\\\u{{{octet:x}}}"),
        };
        writer.write_all(escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_commands_no_terminal() {
        assert!(matches!(escape("as it is: äöü 主 \\n"), Cow::Borrowed(_)));
        assert_eq!(escape("a\nb\r\tc\0"), "a\\nb\\r\\tc\\u{0}");
        assert_eq!(escape("\x1b[2J\u{9b}31m\x7f"), "\\u{1b}[2J\\u{9b}31m\\u{7f}");
        assert_eq!(escape("\u{202e}evil\u{2028}"), "\\u{202e}evil\\u{2028}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(escape_within("äöü", 6), "äöü");
        assert_eq!(escape_within("äöü", 5), "äö .. (2 octets more)");
        assert_eq!(escape_within(&"\n".repeat(4), 4), "\\n\\n .. (4 octets more)");
    }

    #[test]
    fn json_comes_back_escaped_and_otherwise_the_same() {
        let text = "\"quoted\" C:\\dir \n\r\t\u{8}\u{c}\u{1}\u{1b}[0m\u{9b}\u{7f} /ä\u{2028}";
        let line = json_line(&serde_json::json!({ "key": [text, 1, null] })).unwrap();
        let back: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(back["key"][0], *escape(text), "{}", String::from_utf8_lossy(&line));
        assert_eq!((&back["key"][1], &back["key"][2]), (&1.into(), &serde_json::Value::Null));
        assert!(!line.contains(&b'\n') && !line.contains(&0x1b));
    }
}
