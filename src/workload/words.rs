//! What is wrong with JSON, in words: serde speaks to programmers in Rust.

/// What the parser says of a text, without its place, and with JSON's names for types.
pub(crate) fn in_words(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(&*said, |(said, _)| said);
    let Some(types) = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "))
    else {
        return match said {
            "trailing characters" => "something follows it".to_owned(),
            said if said.starts_with("invalid length ") => {
                "it has more or fewer parts than it should".to_owned()
            }
            said => said.to_owned(),
        };
    };
    let Some((found, expected)) = types.rsplit_once(", expected ") else { return types.to_owned() };
    format!("it is {}, and is to be {}", named(found), named(expected))
}

fn named(kind: &str) -> String {
    let kind = kind.trim_end_matches(" key");
    match kind {
        "map" | "a map" => "an object".to_owned(),
        "sequence" | "a sequence" => "a list".to_owned(),
        "a string" | "a borrowed string" => "a text".to_owned(),
        "unit" | "null" => "null".to_owned(),
        "i64" | "u64" | "usize" | "u32" => "an integer".to_owned(),
        "a tuple of size 2" => "a list of two".to_owned(),
        "a tuple of size 3" => "a list of three".to_owned(),
        kind if kind.starts_with("struct ") => "an object".to_owned(),
        kind => {
            let quoted = |prefix: &str, name: &str| {
                Some(format!("{name} {}", kind.strip_prefix(prefix)?.trim_matches('`')))
            };
            quoted("string ", "the text")
                .or_else(|| quoted("integer ", "the number"))
                .or_else(|| quoted("floating point ", "the number"))
                .or_else(|| quoted("boolean ", "the value"))
                .unwrap_or_else(|| kind.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    fn wrong<T: DeserializeOwned>(text: &str) -> String {
        in_words(&serde_json::from_str::<T>(text).err().expect("it is wrong"))
    }

    #[test]
    fn types_have_jsons_names() {
        assert_eq!(wrong::<Vec<i64>>("{}"), "it is an object, and is to be a list");
        assert_eq!(wrong::<Vec<i64>>("[1.5]"), "it is the number 1.5, and is to be an integer");
        assert_eq!(wrong::<i64>("\"7\""), "it is the text \"7\", and is to be an integer");
        assert_eq!(wrong::<String>("null"), "it is null, and is to be a text");
        assert_eq!(wrong::<(i64, i64)>("[1]"), "it has more or fewer parts than it should");
        assert_eq!(wrong::<(i64, i64)>("true"), "it is the value true, and is to be a list of two");
        assert_eq!(wrong::<i64>("7 8"), "something follows it");
    }
}
