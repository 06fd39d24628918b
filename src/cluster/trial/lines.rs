//! Lines that nodes print, as far as the network looks at them, and what is wrong with those that are no messages.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::workload::in_words;

/// How much of a bad line is shown.
const EXCERPT: usize = 200;

/// The beginning of a line.
pub(super) fn excerpt(line: &[u8]) -> String {
    let mut line = String::from_utf8_lossy(line).into_owned();
    if let Some((end, _)) = line.char_indices().nth(EXCERPT) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// A line that a node printed, as far as the network looks at it.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) src: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) dest: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) body: &'a RawValue,
}

pub(super) fn envelope(line: &[u8]) -> Result<Envelope<'_>, String> {
    if line.trim_ascii_start().first() == Some(&b'[') {
        return Err("a message is an object, and not an array".to_owned());
    }
    serde_json::from_slice(line).map_err(|error| in_words(&error))
}

/// What the author of a line that is no message may have meant.
pub(super) fn hint(line: &[u8]) -> &'static str {
    if line.starts_with(b"\xef\xbb\xbf") {
        return ". It begins with a byte order mark: write UTF-8 without one";
    }
    let line = line.trim_ascii();
    let mut texts = serde_json::Deserializer::from_slice(line).into_iter::<serde::de::IgnoredAny>();
    match (texts.next(), texts.next()) {
        (Some(Ok(_)), Some(_)) if line.starts_with(b"{") => ". One message a line: a newline after each",
        _ if matches!(line, b"{" | b"}" | b"},") || line.starts_with(b"\"") => {
            ". One message a line: without line breaks within it"
        }
        _ if !line.starts_with(b"{") && !line.starts_with(b"[") => {
            ". Was this meant for stderr? Only messages go to stdout"
        }
        _ => "",
    }
}
