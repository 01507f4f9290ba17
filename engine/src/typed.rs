//! What an object looks like after a round trip through its Go type: empty optional fields gone, quantities and times
//! in one form, numbers and strings where they belong. Argo CD compares built-in kinds only after such a trip
//! (gitops-engine, `remarshal`), and so do the patches that defaulting amounts to. Pure.
use serde_json::{Map, Number, Value};

use crate::quantity;
use crate::schema::{At, Field, Shape};

/// The object as its type writes it, with no field that was not there before. None: the type does not fit (an unknown
/// field, a string where a number belongs), and the object is better left as it is.
pub(crate) fn round_trip(object: &Value, at: At<'_>) -> Option<Value> {
    Codec { strict: true, whole: false }.write(object, at).ok().map(|written| written.value)
}

/// The object as its type writes it, required fields filled with zeroes. Unknown fields are lost. None: a value that the
/// type cannot hold.
pub(crate) fn whole(object: &Value, at: At<'_>) -> Option<Value> {
    Codec { strict: false, whole: true }.write(object, at).ok().map(|written| written.value)
}

/// Numbers as they come out of Go's JSON: a whole float is an integer.
pub(crate) fn plain_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = whole_number(number) {
                *number = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_numbers),
        Value::Object(map) => map.values_mut().for_each(plain_numbers),
        _ => {}
    }
}

fn whole_number(number: &Number) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT)?;
    // Within 2^53, and with no fraction: nothing is lost.
    #[allow(clippy::cast_possible_truncation, reason = "checked above")]
    let whole = float as i64;
    Some(Number::from(whole))
}

struct Codec {
    /// An unknown field spoils it all (Go: DisallowUnknownFields).
    strict: bool,
    /// Also fields that the object does not have, when their type always writes them.
    whole: bool,
}

/// Why a value does not fit is nobody's concern: it stays as it is.
struct Unfit;

struct Written {
    value: Value,
    /// `omitempty` leaves it out.
    empty: bool,
    /// `omitzero` leaves it out.
    zero: bool,
}

impl Written {
    fn scalar(value: Value, zero: bool) -> Self {
        Self { value, empty: zero, zero }
    }
}

impl Codec {
    fn write(&self, value: &Value, at: At<'_>) -> Result<Written, Unfit> {
        let zero = value.is_null();
        Ok(match at.shape {
            Shape::Text => {
                let text = if zero { "" } else { value.as_str().ok_or(Unfit)? };
                Written::scalar(Value::from(text), text.is_empty())
            }
            Shape::Bool => {
                let truth = !zero && value.as_bool().ok_or(Unfit)?;
                Written::scalar(Value::from(truth), !truth)
            }
            Shape::Int(bits) => {
                let number = if zero { 0 } else { integer(value, *bits).ok_or(Unfit)? };
                Written::scalar(Value::from(number), number == 0)
            }
            Shape::Float => {
                let number = if zero { 0.0 } else { value.as_f64().ok_or(Unfit)? };
                let mut out = Value::from(number);
                plain_numbers(&mut out);
                Written::scalar(out, number == 0.0)
            }
            Shape::Bytes => bytes(value)?,
            Shape::Quantity => {
                let text = match value {
                    Value::Null => "0".to_owned(),
                    Value::String(text) => quantity::canonical(text).ok_or(Unfit)?,
                    Value::Number(number) => quantity::canonical(&number.to_string()).ok_or(Unfit)?,
                    _ => return Err(Unfit),
                };
                let nothing = text == "0";
                Written { value: Value::from(text), empty: false, zero: nothing }
            }
            Shape::IntOrString => match value {
                Value::Null => Written { value: Value::from(0), empty: false, zero: true },
                Value::String(_) => Written { value: value.clone(), empty: false, zero: false },
                number => {
                    let number = integer(number, 32).ok_or(Unfit)?;
                    Written { value: Value::from(number), empty: false, zero: number == 0 }
                }
            },
            Shape::Time | Shape::MicroTime => time(value, *at.shape == Shape::MicroTime)?,
            Shape::Duration => {
                let text = if zero { "0s".to_owned() } else { duration(value.as_str().ok_or(Unfit)?).ok_or(Unfit)? };
                Written { value: Value::from(text), empty: false, zero }
            }
            Shape::Any => Written { value: value.clone(), empty: zero, zero },
            Shape::Pointer(_) if zero => Written::scalar(Value::Null, true),
            Shape::Pointer(inner) => Written { empty: false, zero: false, ..self.write(value, at.with(inner))? },
            Shape::List(_) | Shape::Map(_) if zero => Written::scalar(Value::Null, true),
            Shape::List(inner) => {
                let items = value.as_array().ok_or(Unfit)?;
                let written = items.iter().map(|item| Ok(self.write(item, at.with(inner))?.value));
                let written = written.collect::<Result<Vec<_>, Unfit>>()?;
                Written { empty: written.is_empty(), value: Value::Array(written), zero: false }
            }
            Shape::Map(inner) => {
                let map = value.as_object().ok_or(Unfit)?;
                let written =
                    map.iter().map(|(key, value)| Ok((key.clone(), self.write(value, at.with(inner))?.value)));
                let written = written.collect::<Result<Map<_, _>, Unfit>>()?;
                Written { empty: written.is_empty(), value: Value::Object(written), zero: false }
            }
            Shape::Object(_) => self.object(value, at)?,
        })
    }

    fn object(&self, value: &Value, at: At<'_>) -> Result<Written, Unfit> {
        let nothing = Map::new();
        let (map, whole) = match value {
            Value::Null => (&nothing, true),
            Value::Object(map) => (map, self.whole),
            _ => return Err(Unfit),
        };
        let mut misspelt: Vec<(&Field, &Value)> = Vec::new();
        for (key, value) in map {
            if at.field(key).is_none() {
                match at.field_folded(key) {
                    Some(field) => misspelt.push((field, value)),
                    None if self.strict => return Err(Unfit),
                    None => {}
                }
            }
        }
        let (mut out, mut zero) = (Map::new(), true);
        for field in at.fields().unwrap_or_default() {
            let given = map.get(&field.name);
            let folded = misspelt.iter().find(|(of, _)| of.name == field.name).map(|(_, value)| *value);
            let Some(source) = given.or(folded).or(whole.then_some(&Value::Null)) else { continue };
            let written = self.write(source, at.with(&field.shape))?;
            zero &= written.zero;
            let omitted = field.omit_empty && written.empty || field.omit_zero && written.zero;
            if !omitted && (given.is_some() || whole) {
                out.insert(field.name.clone(), written.value);
            }
        }
        Ok(Written { value: Value::Object(out), empty: false, zero })
    }
}

fn integer(value: &Value, bits: u32) -> Option<i64> {
    let number = value.as_i64().or_else(|| whole_number(value.as_number()?)?.as_i64())?;
    let limit = 1_i128 << (bits - 1);
    (i128::from(number) >= -limit && i128::from(number) < limit).then_some(number)
}

/// Base64 as Go reads it: padded, line breaks allowed.
fn bytes(value: &Value) -> Result<Written, Unfit> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let text = match value {
        Value::Null => return Ok(Written::scalar(Value::Null, true)),
        other => other.as_str().ok_or(Unfit)?,
    };
    let clean = text.replace(['\r', '\n'], "");
    let decoded = STANDARD.decode(&clean).map_err(|_| Unfit)?;
    Ok(Written { value: Value::from(STANDARD.encode(&decoded)), empty: decoded.is_empty(), zero: false })
}

/// RFC 3339 in UTC, to the second or to the microsecond.
fn time(value: &Value, micro: bool) -> Result<Written, Unfit> {
    if value.is_null() {
        return Ok(Written { value: Value::Null, empty: false, zero: true });
    }
    let text = value.as_str().ok_or(Unfit)?;
    let digits = text.split_once('.').map_or(0, |(_, rest)| rest.chars().take_while(char::is_ascii_digit).count());
    if micro && digits != 6 {
        return Err(Unfit);
    }
    let (seconds, nanos) = instant(text).ok_or(Unfit)?;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let fraction = if micro { format!(".{:06}", nanos / 1000) } else { String::new() };
    let text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    Ok(Written { value: Value::from(text), empty: false, zero: false })
}

/// Seconds since 1970 and nanoseconds of an RFC 3339 time.
fn instant(text: &str) -> Option<(i64, u32)> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let at = |place: usize| text.as_bytes().get(place).copied();
    if at(4) != Some(b'-')
        || at(7) != Some(b'-')
        || at(10) != Some(b'T')
        || at(13) != Some(b':')
        || at(16) != Some(b':')
    {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (nanos, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let digits: String = rest[..end].chars().chain("000000000".chars()).take(9).collect();
            (digits.parse().ok()?, &rest[end..])
        }
        None => (0, rest),
    };
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset * 60;
    Some((seconds, nanos))
}

/// Days from 1970-01-01 to a date, and back (the proleptic Gregorian calendar counted from March).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A duration as Go writes it: `90s` is `1m30s`.
fn duration(text: &str) -> Option<String> {
    let (sign, bare) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let mut nanos: i128 = 0;
    let mut rest = bare;
    if bare.is_empty() || bare != "0" && bare.parse::<f64>().is_ok() {
        return None;
    }
    while !rest.is_empty() && bare != "0" {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let unit: i128 = match &after[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(unit)?)?;
        if !fraction.is_empty() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            nanos = nanos.checked_add(fraction.parse::<i128>().ok()?.checked_mul(unit)? / scale)?;
        }
        rest = &after[unit_end..];
    }
    if i64::try_from(nanos).is_err() {
        return None;
    }
    Some(if nanos == 0 { "0s".to_owned() } else { format!("{sign}{}", spell(nanos)) })
}

fn spell(nanos: i128) -> String {
    let decimal = |unit: i128, name: &str| {
        let (whole, rest) = (nanos / unit, nanos % unit);
        let digits = format!("{:0width$}", rest, width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        if rest == 0 { format!("{whole}{name}") } else { format!("{whole}.{digits}{name}") }
    };
    if nanos < 1_000 {
        return format!("{nanos}ns");
    }
    if nanos < 1_000_000 {
        return decimal(1_000, "µs");
    }
    if nanos < 1_000_000_000 {
        return decimal(1_000_000, "ms");
    }
    let minutes = nanos / 60_000_000_000;
    let below = nanos % 60_000_000_000;
    let (whole, rest) = (below / 1_000_000_000, below % 1_000_000_000);
    let digits = format!("{rest:09}");
    let seconds = match digits.trim_end_matches('0') {
        "" => format!("{whole}s"),
        digits => format!("{whole}.{digits}s"),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Schemas;

    fn trip(type_name: &str, value: Value) -> Option<Value> {
        let schemas = Schemas::builtin();
        round_trip(&value, schemas.named(type_name).unwrap())
    }

    #[test]
    fn a_round_trip_drops_what_go_does_not_write() {
        let cases = [
            (json!({"hostNetwork": false, "nodeName": "", "volumes": [], "nodeSelector": {}}), Some(json!({}))),
            (
                json!({"enableServiceLinks": false, "containers": null}),
                Some(json!({"enableServiceLinks": false, "containers": null})),
            ),
            (
                json!({"containers": [{"name": "a", "resources": null, "stdin": false}]}),
                Some(json!({"containers": [{"name": "a", "resources": {}}]})),
            ),
            (
                json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}]}),
                Some(json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]})),
            ),
            (json!({"terminationGracePeriodSeconds": 30.0}), Some(json!({"terminationGracePeriodSeconds": 30}))),
            (json!({"HostNetwork": true}), Some(json!({}))),
            (json!({"nope": 1}), None),
            (json!({"nodeName": 1}), None),
            (json!({"terminationGracePeriodSeconds": "30"}), None),
            (json!({"terminationGracePeriodSeconds": 1.5}), None),
            (json!({"containers": {}}), None),
        ];
        for (value, want) in cases {
            assert_eq!(trip("core/v1/PodSpec", value.clone()), want, "{value}");
        }
    }

    #[test]
    fn the_whole_type_has_its_zeroes() {
        let schemas = Schemas::builtin();
        let at = schemas.named("core/v1/ContainerPort").unwrap();
        assert_eq!(whole(&json!({"name": "x", "odd": 1}), at), Some(json!({"name": "x", "containerPort": 0})));
    }

    #[test]
    fn times_and_durations_have_one_form() {
        let schemas = Schemas::builtin();
        let meta = schemas.named("core/v1/PodSpec").unwrap().graph;
        let at = |shape| At { graph: meta, shape };
        let times = [
            ("2024-02-29T23:30:00-01:00", Some("2024-03-01T00:30:00Z")),
            ("1999-12-31T23:59:59.5Z", Some("1999-12-31T23:59:59Z")),
            ("2024-01-01", None),
        ];
        for (text, want) in times {
            let found = round_trip(&json!(text), at(&Shape::Time));
            assert_eq!(found, want.map(Value::from), "{text}");
        }
        assert_eq!(
            round_trip(&json!("2024-01-01T00:00:00.500000+00:00"), at(&Shape::MicroTime)),
            Some(json!("2024-01-01T00:00:00.500000Z"))
        );
        let durations = [
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("0", "0s"),
            ("1500ms", "1.5s"),
            ("0.5m", "30s"),
            ("100us", "100µs"),
            ("-1m", "-1m0s"),
        ];
        for (text, want) in durations {
            assert_eq!(duration(text).as_deref(), Some(want), "{text}");
        }
        assert_eq!((duration("5"), duration("x"), duration("")), (None, None, None));
    }
}
