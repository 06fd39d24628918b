//! EDN, as far as histories are written in it: read as JSON, and written from JSON.
//!
//! Keywords become texts, and so do the keys of maps. Lists, vectors and sets become lists. Tags are left out.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Number, Value as Json};

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EdnError {
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// So deep may forms be nested.
const DEPTH_MAX: usize = 200;

/// All forms of a text, each with the line that it begins on.
pub(crate) fn forms(text: &str) -> Result<Vec<(usize, Json)>, EdnError> {
    let mut parser = Parser { chars: text.chars().peekable(), line: 1 };
    let mut forms = Vec::new();
    loop {
        parser.skip_blank();
        if parser.chars.peek().is_none() {
            return Ok(forms);
        }
        let line = parser.line;
        if let Some(form) = parser.form(0)? {
            forms.push((line, form));
        }
    }
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Parser<'_> {
    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, EdnError> {
        Err(EdnError { line: self.line, why: why.into() })
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn skip_blank(&mut self) {
        while let Some(&next) = self.chars.peek() {
            if next == ';' {
                while self.next().is_some_and(|char| char != '\n') {}
            } else if next.is_whitespace() || next == ',' {
                self.next();
            } else {
                break;
            }
        }
    }

    /// The next form; none if it is one that is to be left out.
    fn form(&mut self, depth: usize) -> Result<Option<Json>, EdnError> {
        if depth > DEPTH_MAX {
            return self.wrong(format!("nested more than {DEPTH_MAX} deep"));
        }
        self.skip_blank();
        let Some(&first) = self.chars.peek() else { return self.wrong("the text ends within a form") };
        match first {
            '"' => self.text().map(Some),
            '{' => self.map(depth).map(Some),
            '[' => self.list(']', depth).map(Some),
            '(' => self.list(')', depth).map(Some),
            '#' => self.tagged(depth),
            '\\' => {
                self.next();
                let name = self.token();
                self.wrong_if_empty(&name)?;
                Ok(Some(name.into()))
            }
            _ => self.atom().map(Some),
        }
    }

    /// A form that is not left out.
    fn some_form(&mut self, depth: usize) -> Result<Json, EdnError> {
        loop {
            if let Some(form) = self.form(depth)? {
                return Ok(form);
            }
        }
    }

    fn wrong_if_empty(&self, token: &str) -> Result<(), EdnError> {
        if token.is_empty() { self.wrong("a form was expected") } else { Ok(()) }
    }

    fn tagged(&mut self, depth: usize) -> Result<Option<Json>, EdnError> {
        self.next();
        match self.chars.peek() {
            Some('{') => self.list('}', depth).map(Some),
            Some('_') => {
                self.next();
                self.some_form(depth + 1)?;
                Ok(None)
            }
            Some('#') => {
                // ##Inf and the like are no JSON.
                self.next();
                Ok(Some(self.token().into()))
            }
            _ => {
                let tag = self.token();
                self.wrong_if_empty(&tag)?;
                self.some_form(depth + 1).map(Some)
            }
        }
    }

    fn list(&mut self, end: char, depth: usize) -> Result<Json, EdnError> {
        self.next();
        let mut elements = Vec::new();
        loop {
            self.skip_blank();
            if self.chars.next_if_eq(&end).is_some() {
                return Ok(Json::Array(elements));
            }
            elements.extend(self.form(depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Json, EdnError> {
        let Json::Array(forms) = self.list('}', depth)? else { return self.wrong("a map was expected") };
        if !forms.len().is_multiple_of(2) {
            return self.wrong("a map has a key without a value");
        }
        let key = |key: &Json| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        Ok(Json::Object(forms.chunks(2).map(|pair| (key(&pair[0]), pair[1].clone())).collect()))
    }

    fn text(&mut self) -> Result<Json, EdnError> {
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return self.wrong("the text ends within quotation marks"),
                Some('"') => return Ok(text.into()),
                Some('\\') => text.push(self.escaped()?),
                Some(char) => text.push(char),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, EdnError> {
        Ok(match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => {
                let digits: String = (0..4).filter_map(|_| self.next()).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                code.unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(char @ ('"' | '\\')) => char,
            _ => return self.wrong("a backslash with nothing to escape"),
        })
    }

    /// What comes before the next blank or bracket.
    fn token(&mut self) -> String {
        let mut token = String::new();
        let is_part = |char: &char| !char.is_whitespace() && !",;\"()[]{}".contains(*char);
        while let Some(char) = self.chars.next_if(is_part) {
            token.push(char);
        }
        token
    }

    fn atom(&mut self) -> Result<Json, EdnError> {
        let token = self.token();
        Ok(match token.as_str() {
            "" => {
                let next = self.chars.peek().copied().unwrap_or(' ');
                return self.wrong(format!("{next:?} where a form was expected"));
            }
            "nil" => Json::Null,
            "true" => true.into(),
            "false" => false.into(),
            _ => number(&token).unwrap_or_else(|| token.strip_prefix(':').unwrap_or(&token).into()),
        })
    }
}

/// A number, if it is one: EDN marks those of any precision by a letter.
fn number(token: &str) -> Option<Json> {
    if !token.starts_with(|first: char| first.is_ascii_digit() || "+-".contains(first)) {
        return None;
    }
    let digits = token.trim_end_matches(['N', 'M']);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    let integer = digits.parse::<i64>().ok().map(Json::from);
    if integer.is_none() && digits.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) {
        // One of more digits than a JSON number keeps.
        return Some(digits.into());
    }
    integer.or_else(|| digits.parse::<f64>().ok().and_then(Number::from_f64).map(Json::Number))
}

/// What is a keyword in Jepsen's results, under these keys.
const KEYWORDS_UNDER: [&str; 7] =
    ["valid?", "anomaly-types", "not", "also-not", "error-types", "bad-error-types", "f"];

/// Writes JSON as EDN on one line, as the value of that key. Keys that can be keywords are.
pub(crate) fn write_under(under: &str, json: &Json, out: &mut String) {
    match json {
        Json::String(text) if KEYWORDS_UNDER.contains(&under) && is_keyword(text) => {
            out.push(':');
            out.push_str(text);
        }
        Json::Null => out.push_str("nil"),
        Json::Bool(_) | Json::Number(_) => {
            let _ = write!(out, "{json}");
        }
        Json::String(text) => write_text(text, out),
        Json::Array(elements) => {
            out.push('[');
            for (place, element) in elements.iter().enumerate() {
                out.push_str(if place > 0 { " " } else { "" });
                write_under(under, element, out);
            }
            out.push(']');
        }
        Json::Object(fields) => write_map(fields, out),
    }
}

fn write_map(fields: &Map<String, Json>, out: &mut String) {
    out.push('{');
    for (place, (key, value)) in fields.iter().enumerate() {
        out.push_str(if place > 0 { ", " } else { "" });
        if key.parse::<f64>().is_ok() {
            out.push_str(key);
        } else if is_keyword(key) {
            out.push(':');
            out.push_str(key);
        } else {
            write_text(key, out);
        }
        out.push(' ');
        write_under(key, value, out);
    }
    out.push('}');
}

fn is_keyword(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.chars().all(|char| char.is_ascii_alphanumeric() || "-_?!.".contains(char))
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char.is_control() => {
                let _ = write!(out, "\\u{:04x}", char as u32);
            }
            char => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn one(text: &str) -> Result<Json, EdnError> {
        Ok(forms(text)?.pop().expect("a form").1)
    }

    #[test]
    fn forms_are_read_as_json() {
        for (text, expected) in [
            ("nil", json!(null)),
            ("[1 -2 +3 4N 1.5M true]", json!([1, -2, 3, 4, 1.5, true])),
            ("(:a b/c \"d\\n\\u0041\" \\newline)", json!(["a", "b/c", "d\nA", "newline"])),
            ("#{1, 2} ; a set", json!([1, 2])),
            ("{:a {\"b\" 1, 2 3}}", json!({"a": {"b": 1, "2": 3}})),
            ("#inst \"2020\"", json!("2020")),
            ("[1 #_ [2 3] 4]", json!([1, 4])),
        ] {
            assert_eq!(one(text), Ok(expected), "{text}");
        }
        assert_eq!(forms("1 \n\n 2").expect("two").iter().map(|form| form.0).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn what_is_no_edn_is_refused_with_its_line() {
        for bad in ["[1", "{:a}", "\"a", "]", "\"\\x\"", "#", "\\", "#_"] {
            assert_eq!(one(&format!("\n{bad}")).expect_err(bad).line, 2, "{bad}");
        }
        assert!(one(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn results_are_written_with_keywords() {
        let mut out = String::new();
        let write = |json: &Json, out: &mut String| write_under("", json, out);
        write(&json!({"valid?": true, "stable-latencies": {"0.5": 7}, "a b": ["x\""]}), &mut out);
        assert_eq!(out, r#"{"a b" ["x\""], :stable-latencies {0.5 7}, :valid? true}"#);
        out.clear();
        write(&json!({"valid?": "unknown", "not": ["serializable"]}), &mut out);
        assert_eq!(out, "{:not [:serializable], :valid? :unknown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_panics(text in "[\\[\\]{}()#_:;,\"\\\\a0-9.N \n+-]{0,40}") {
            let _ = forms(&text);
        }

        #[test]
        fn texts_and_lists_survive(texts in prop::collection::vec(".{0,8}", 0..4), number: i64) {
            let json = json!([texts, number, null]);
            let mut out = String::new();
            write_under("", &json, &mut out);
            prop_assert_eq!(one(&out), Ok(json));
        }
    }
}
