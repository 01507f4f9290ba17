//! One YAML document into JSON: libyaml's events, composed with anchors, aliases and merge keys.
//! Depth and aliasing are bounded.
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::{Fault, scalar};

/// Deepest nesting.
const DEPTH_MAX: usize = 256;
/// Values made by aliases: at most this many, or this many times what the document itself holds.
const ALIASED_MAX: usize = 100_000;

fn fault(mark: Mark, message: impl Into<String>) -> Fault {
    let from_one = |zero: u64| u32::try_from(zero + 1).unwrap_or(u32::MAX);
    Fault { line: from_one(mark.line), column: from_one(mark.column), message: message.into(), is_object: false }
}

/// The document's value and the line of its first content; `None` when it is empty.
pub(super) fn load(text: &str) -> Result<Option<(Value, u32)>, Fault> {
    if !text.is_empty() && !text.ends_with('\n') {
        // Kubernetes' reader ends the last line of every document; libyaml-safer panics at a block scalar without its end.
        return load(&format!("{text}\n"));
    }
    // libyaml-safer has reachable panics in its scanner (research/deps.md section 6); they are refusals here.
    catch_unwind(AssertUnwindSafe(|| compose(text))).unwrap_or_else(|_| {
        let message = "the YAML cannot be scanned; simplify its tags".to_owned();
        Err(Fault { line: 1, column: 1, message, is_object: false })
    })
}

fn compose(text: &str) -> Result<Option<(Value, u32)>, Fault> {
    let mut bytes = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut bytes);
    let mut composer = Composer { parser, anchors: HashMap::new(), aliased: 0 };
    loop {
        let event = composer.next()?;
        match event.data {
            EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
            EventData::StreamEnd | EventData::DocumentEnd { .. } => return Ok(None),
            _ => {
                let line = u32::try_from(event.start_mark.line + 1).unwrap_or(u32::MAX);
                let value = composer.value(event, 0)?;
                return Ok(Some((value, line)));
            }
        }
    }
}

struct Composer<'a> {
    parser: Parser<&'a mut &'a [u8]>,
    anchors: HashMap<String, Value>,
    aliased: usize,
}

impl Composer<'_> {
    fn next(&mut self) -> Result<Event, Fault> {
        self.parser.parse().map_err(|error| {
            let mark = error.problem_mark().or(error.context_mark()).unwrap_or_default();
            let context = error.context().map(|context| format!("{context}, ")).unwrap_or_default();
            fault(mark, format!("not valid YAML: {context}{}", error.problem()))
        })
    }

    fn value(&mut self, event: Event, depth: usize) -> Result<Value, Fault> {
        let mark = event.start_mark;
        if depth > DEPTH_MAX {
            return Err(fault(mark, format!("nested deeper than {DEPTH_MAX}")));
        }
        let (anchor, value) = match event.data {
            EventData::Alias { anchor } => return self.alias(&anchor, mark),
            EventData::Scalar { anchor, tag, value, style, .. } => {
                (anchor, scalar_value(tag.as_deref(), value, style, mark)?)
            }
            EventData::SequenceStart { anchor, .. } => (anchor, self.sequence(depth)?),
            EventData::MappingStart { anchor, .. } => (anchor, self.mapping(depth)?),
            _ => return Err(fault(mark, "not valid YAML: a value is missing")),
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: &str, mark: Mark) -> Result<Value, Fault> {
        let value =
            self.anchors.get(anchor).ok_or_else(|| fault(mark, format!("unknown anchor '{anchor}' referenced")))?;
        self.aliased += size(value);
        if self.aliased > ALIASED_MAX {
            return Err(fault(mark, "document contains excessive aliasing"));
        }
        Ok(value.clone())
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            items.push(self.value(event, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut map = Map::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::MappingEnd) {
                break;
            }
            let mark = event.start_mark;
            let is_merge =
                matches!(&event.data, EventData::Scalar { value, style: ScalarStyle::Plain, .. } if value == "<<");
            let key = self.value(event, depth + 1)?;
            let event = self.next()?;
            let value = self.value(event, depth + 1)?;
            if is_merge {
                merge(&mut map, value, mark)?;
            } else {
                // A key that comes twice: the last one counts, as in Argo CD.
                map.insert(key_text(key, mark)?, value);
            }
        }
        Ok(Value::Object(map))
    }
}

/// A merge key takes the place it stands in: it wins over the keys before it, those after it win over it; of a list the first
/// wins (goyaml.v2, not YAML's own rule).
fn merge(map: &mut Map<String, Value>, value: Value, mark: Mark) -> Result<(), Fault> {
    let wrong = || fault(mark, "map merge requires map or sequence of maps as the value");
    match value {
        Value::Object(other) => map.extend(other),
        Value::Array(all) => {
            for one in all.into_iter().rev() {
                let Value::Object(other) = one else { return Err(wrong()) };
                map.extend(other);
            }
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn key_text(key: Value, mark: Mark) -> Result<String, Fault> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(fault(mark, "a mapping key must be a text, a number or a truth value"))
        }
    }
}

fn scalar_value(tag: Option<&str>, value: String, style: ScalarStyle, mark: Mark) -> Result<Value, Fault> {
    match tag {
        Some("tag:yaml.org,2002:binary") => Err(fault(mark, "!!binary is not taken in manifests; use base64 text")),
        Some("tag:yaml.org,2002:str" | "!") => Ok(Value::String(value)),
        Some(_) => Ok(scalar::resolve(&value)),
        None if style == ScalarStyle::Plain => Ok(scalar::resolve(&value)),
        None => Ok(Value::String(value)),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        _ => 1,
    }
}
