//! YAML and JSON with the order of their keys, and plain scalars as SOPS reads them (yaml.v3's resolve.go): the MAC is over the values
//! in this order and in this form. Pure.
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Event, EventData, Parser, ScalarStyle};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::cipher::{Plain, float_text, whole};

/// Deepest nesting.
const DEPTH_MAX: usize = 256;
/// Most values, those that aliases make included.
const NODES_MAX: usize = 500_000;

/// A value in its order.
#[derive(Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Plain(Plain),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn get(&self, wanted: &str) -> Option<&Node> {
        match self {
            Self::Map(items) => items.iter().find(|(key, _)| key == wanted).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same without the order.
    pub(super) fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Plain(plain) => plain.clone().into_value(),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Map(items) => items.iter().map(|(key, value)| (key.clone(), value.to_value())).collect(),
        }
    }

    /// As JSON, which is YAML too, in the same order.
    pub(super) fn write(&self, into: &mut String) {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null | Self::Plain(Plain::Comment) => into.push_str("null"),
            Self::Plain(Plain::Bool(truth)) => drop(write!(into, "{truth}")),
            Self::Plain(Plain::Int(number)) => drop(write!(into, "{number}")),
            Self::Plain(Plain::Float(number)) if number.is_finite() => match whole(*number) {
                Some(number) => drop(write!(into, "{number}")),
                None => drop(write!(into, "{number:?}")),
            },
            Self::Plain(Plain::Float(number)) => into.push_str(&text(&float_text(*number))),
            Self::Plain(Plain::Text(value) | Plain::Time(value)) => into.push_str(&text(value)),
            Self::List(items) => {
                into.push('[');
                for (place, item) in items.iter().enumerate() {
                    into.push_str(if place == 0 { "" } else { "," });
                    item.write(into);
                }
                into.push(']');
            }
            Self::Map(items) => {
                into.push('{');
                for (place, (key, value)) in items.iter().enumerate() {
                    into.push_str(if place == 0 { "" } else { "," });
                    into.push_str(&text(key));
                    into.push(':');
                    value.write(into);
                }
                into.push('}');
            }
        }
    }
}

/// All documents of a text. The reason of a failure names the place and quotes nothing.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Node>, String> {
    if file.ends_with(".json") {
        return match serde_json::from_str(text) {
            Ok(node) => Ok(vec![node]),
            Err(error) => Err(format!("line {}, column {}: not valid JSON", error.line(), error.column())),
        };
    }
    // libyaml-safer has reachable panics in its scanner; they are refusals here.
    catch_unwind(AssertUnwindSafe(|| documents(text)))
        .unwrap_or_else(|_| Err("the YAML cannot be scanned; simplify its tags".to_owned()))
}

fn documents(text: &str) -> Result<Vec<Node>, String> {
    let mut bytes = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut bytes);
    let mut composer = Composer { parser, anchors: HashMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        let event = composer.next()?;
        match event.data {
            EventData::StreamEnd => return Ok(documents),
            EventData::StreamStart { .. } | EventData::DocumentStart { .. } | EventData::DocumentEnd { .. } => {
                composer.anchors.clear();
            }
            _ => documents.push(composer.node(event, 0)?),
        }
    }
}

struct Composer<'a> {
    parser: Parser<&'a mut &'a [u8]>,
    anchors: HashMap<String, Node>,
    nodes: usize,
}

impl Composer<'_> {
    fn next(&mut self) -> Result<Event, String> {
        self.parser.parse().map_err(|error| {
            let mark = error.problem_mark().or(error.context_mark()).unwrap_or_default();
            format!("line {}, column {}: not valid YAML", mark.line + 1, mark.column + 1)
        })
    }

    fn node(&mut self, event: Event, depth: usize) -> Result<Node, String> {
        let line = event.start_mark.line + 1;
        self.count(1, line)?;
        if depth > DEPTH_MAX {
            return Err(format!("line {line}: nested deeper than {DEPTH_MAX}"));
        }
        let (anchor, node) = match event.data {
            EventData::Alias { anchor } => {
                let node = self.anchors.get(&anchor).cloned().ok_or(format!("line {line}: an unknown anchor"))?;
                self.count(size(&node), line)?;
                return Ok(node);
            }
            EventData::Scalar { anchor, tag, value, style, .. } => {
                let plain =
                    style == ScalarStyle::Plain && tag.as_deref().is_none_or(|tag| tag != "tag:yaml.org,2002:str");
                (anchor, if plain { resolve(value) } else { Node::Plain(Plain::Text(value)) })
            }
            EventData::SequenceStart { anchor, .. } => {
                let mut items = Vec::new();
                loop {
                    let event = self.next()?;
                    if matches!(event.data, EventData::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(event, depth + 1)?);
                }
                (anchor, Node::List(items))
            }
            EventData::MappingStart { anchor, .. } => {
                let mut items = Vec::new();
                loop {
                    let event = self.next()?;
                    let key = match event.data {
                        EventData::MappingEnd => break,
                        EventData::Scalar { value, .. } => value,
                        _ => return Err(format!("line {line}: a key must be a text")),
                    };
                    let event = self.next()?;
                    items.push((key, self.node(event, depth + 1)?));
                }
                (anchor, Node::Map(items))
            }
            _ => return Err(format!("line {line}: a value is missing")),
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, more: usize, line: u64) -> Result<(), String> {
        self.nodes += more;
        if self.nodes > NODES_MAX { Err(format!("line {line}: more than {NODES_MAX} values")) } else { Ok(()) }
    }
}

fn size(node: &Node) -> usize {
    match node {
        Node::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Node::Map(items) => 1 + items.iter().map(|(_, value)| size(value)).sum::<usize>(),
        _ => 1,
    }
}

/// A plain scalar.
fn resolve(text: String) -> Node {
    Node::Plain(match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => Plain::Bool(true),
        "false" | "False" | "FALSE" => Plain::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Plain::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Plain::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Plain::Float(f64::NAN),
        other if !other.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => Plain::Text(text),
        other => {
            let digits = other.replace('_', "");
            let number = || integer(&digits).map(Plain::Int).or_else(|| float(&digits).map(Plain::Float));
            time(other).map(Plain::Time).or_else(number).unwrap_or(Plain::Text(text))
        }
    })
}

/// Go's ParseInt with base 0.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = |radix: u32, digits: &str| {
        let digits = digits.chars().all(|c| c.is_ascii_alphanumeric()).then_some(digits)?;
        i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
    };
    match lower.as_bytes() {
        [b'0', b'x', ..] => radix(16, &lower[2..]),
        [b'0', b'o', ..] => radix(8, &lower[2..]),
        [b'0', b'b', ..] => radix(2, &lower[2..]),
        [b'0', _, ..] => radix(8, &lower[1..]),
        _ => radix(10, &lower),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<f64> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let good = body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && body.bytes().any(|byte| byte.is_ascii_digit())
        && body.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if good { text.parse().ok() } else { None }
}

/// `2001-2-3`, or that with `T`, `t` or a space and a time: in the form of RFC 3339.
fn time(text: &str) -> Option<String> {
    let number = |text: &str, most: usize| {
        let good = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if good { text.parse::<u32>().ok() } else { None }
    };
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = parts.next().filter(|year| year.len() == 4).and_then(|year| number(year, 4))?;
    let (month, day) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some((separator, clock)) = rest else { return Some(format!("{date}T00:00:00Z")) };
    let (clock, zone) = match (separator, clock.find(['Z', '+', '-'])) {
        (" ", None) => (clock, "Z"),
        ("T" | "t", Some(at)) => clock.split_at(at),
        _ => return None,
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let mut two = |most: u32| number(parts.next()?, 2).filter(|value| *value <= most);
    let (hour, minute, second) = (two(23)?, two(59)?, two(59)?);
    let zone = if zone == "+00:00" { "Z" } else { zone };
    let zone_good = zone == "Z" || (zone.len() == 6 && zone.as_bytes()[3] == b':');
    if parts.next().is_some() || !zone_good || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}{zone}"))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Json)
    }
}

/// JSON in its order; whole numbers that fit are integers.
struct Json;

impl<'de> Visitor<'de> for Json {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Plain(Plain::Bool(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Plain(Plain::Int(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        // As Go: what does not fit is a float.
        #[allow(clippy::cast_precision_loss)]
        let float = || Plain::Float(number as f64);
        Ok(Node::Plain(i64::try_from(number).map_or_else(|_| float(), Plain::Int)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Plain(Plain::Float(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Plain(Plain::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_entry()? {
            items.push(item);
        }
        Ok(Node::Map(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_yaml_v3_makes_of_them() {
        for (text, want) in [
            ("yes", Some("yes")),
            ("on", Some("on")),
            ("True", Some("True")),
            ("false", Some("False")),
            ("~", None),
            ("12", Some("12")),
            ("0x1F", Some("31")),
            ("010", Some("8")),
            ("0o10", Some("8")),
            ("0b11", Some("3")),
            ("1_000", Some("1000")),
            ("-7", Some("-7")),
            ("+7", Some("7")),
            ("09", Some("9")),
            ("1e3", Some("1000")),
            (".5", Some("0.5")),
            ("0.50", Some("0.5")),
            (".inf", Some("+Inf")),
            ("-.inf", Some("-Inf")),
            (".nan", Some("NaN")),
            ("1.2.3", Some("1.2.3")),
            ("-", Some("-")),
            ("2001-02-03", Some("2001-02-03T00:00:00Z")),
            ("2001-2-3 4:5:6.50", Some("2001-02-03T04:05:06.5Z")),
            ("2001-02-03T04:05:06+01:00", Some("2001-02-03T04:05:06+01:00")),
            ("2001-02-30x", Some("2001-02-30x")),
        ] {
            let got = match resolve(text.to_owned()) {
                Node::Plain(plain) => plain.mac_bytes(),
                _ => None,
            };
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn order_aliases_and_documents_are_kept_and_bombs_are_not() {
        let all = parse("x.yaml", "z: &a [1, 'x']\na: *a\n---\n'y': {}\n").unwrap();
        let mut text = String::new();
        all.iter().for_each(|node| node.write(&mut text));
        assert_eq!(text, r#"{"z":[1,"x"],"a":[1,"x"]}{"y":{}}"#);
        let mut bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for n in 1..9 {
            let _ = writeln!(bomb, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(","));
        }
        assert!(parse("x.yaml", &bomb).err().unwrap().contains("more than 500000 values"));
        assert_eq!(parse("x.json", "{\"a\": canary}").err().unwrap(), "line 1, column 7: not valid JSON");
        assert_eq!(parse("x.yaml", "a: [canary").err().unwrap(), "line 2, column 1: not valid YAML");
    }
}
