//! A JSON value as YAML that every reader, of YAML 1.1 too, reads as the same value.
use libyaml_safer::{Break, Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};
use serde_json::Value;

use super::scalar::resolve;

/// One document, without a `---`. The order of fields is that of the value.
pub fn to_yaml(value: &Value) -> String {
    let mut bytes = Vec::new();
    let written = {
        let mut emitter = Emitter::new();
        emitter.set_output_string(&mut bytes);
        emitter.set_unicode(true);
        emitter.set_width(-1);
        emitter.set_break(Break::Ln);
        document(&mut emitter, value)
    };
    // What the emitter cannot write is written as JSON, which is YAML too.
    match (written, String::from_utf8(bytes)) {
        (Ok(()), Ok(text)) => text,
        _ => format!("{value}\n"),
    }
}

fn document(emitter: &mut Emitter<'_>, value: &Value) -> Result<(), libyaml_safer::Error> {
    emitter.emit(Event::stream_start(Encoding::Utf8))?;
    emitter.emit(Event::document_start(None, &[], true))?;
    node(emitter, value)?;
    emitter.emit(Event::document_end(true))?;
    emitter.emit(Event::stream_end())?;
    emitter.flush()
}

fn node(emitter: &mut Emitter<'_>, value: &Value) -> Result<(), libyaml_safer::Error> {
    match value {
        Value::Object(map) => {
            let style = if map.is_empty() { MappingStyle::Flow } else { MappingStyle::Block };
            emitter.emit(Event::mapping_start(None, None, true, style))?;
            for (key, value) in map {
                text(emitter, key, false)?;
                node(emitter, value)?;
            }
            emitter.emit(Event::mapping_end())
        }
        Value::Array(list) => {
            let style = if list.is_empty() { SequenceStyle::Flow } else { SequenceStyle::Block };
            emitter.emit(Event::sequence_start(None, None, true, style))?;
            for value in list {
                node(emitter, value)?;
            }
            emitter.emit(Event::sequence_end())
        }
        Value::String(string) => text(emitter, string, true),
        other => emitter.emit(Event::scalar(None, None, &other.to_string(), true, false, ScalarStyle::Plain)),
    }
}

fn text(emitter: &mut Emitter<'_>, text: &str, multiline: bool) -> Result<(), libyaml_safer::Error> {
    let same = resolve(text).as_str() == Some(text);
    // Sexagesimal numbers, dates, the merge key and tags are something else to some readers.
    // A first character of U+F000 and above is taken for half a byte order mark by libyaml-safer.
    let risky = text
        .starts_with(|c: char| c.is_ascii_digit() || "+-.=<".contains(c) || ('\u{f000}'..='\u{ffff}').contains(&c))
        || text.contains(|c: char| c.is_control() || c == '\u{feff}');
    let literal = multiline
        && text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.contains(|c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{feff}')
        && !text.lines().any(|line| line.ends_with([' ', '\t']));
    let style = match () {
        () if literal => ScalarStyle::Literal,
        () if !same || risky => ScalarStyle::DoubleQuoted,
        () => ScalarStyle::Any,
    };
    emitter.emit(Event::scalar(None, None, text, style == ScalarStyle::Any, true, style))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::parse::parse_value;

    #[test]
    fn it_reads_well() {
        let value = json!({"a": "x", "b": [1, {"c": true}], "d": {}, "e": "yes", "f": "0777", "g": "l1\nl2\n", "h": null, "i": "12:30:45"});
        let want =
            "a: x\nb:\n- 1\n- c: true\nd: {}\ne: \"yes\"\nf: \"0777\"\ng: |\n  l1\n  l2\nh: null\ni: \"12:30:45\"\n";
        assert_eq!(to_yaml(&value), want);
    }

    fn value() -> impl Strategy<Value = Value> {
        let texts = prop_oneof![
            "\\PC{0,12}",
            "[ -~\n\t]{0,20}",
            prop::sample::select(vec![
                "yes", "~", "", "1e3", "0x1F", "null", "<<", "- a", "a: b", "# x", "\r\n", "|", "\u{feff}", "\u{85}"
            ])
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            texts.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(texts.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn laws_what_is_written_is_read_as_the_same(value in value()) {
            let text = to_yaml(&value);
            prop_assert_eq!(parse_value(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?, value);
        }
    }
}
