//! Durations as Go writes them, which is how Argo CD's settings and manifests do. Pure.
use std::time::Duration;

/// `1h30m`, `180s`, `500ms`; a bare number is seconds.
pub fn parse(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    if text.is_empty() {
        return None;
    }
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let one = match &rest[digits..unit] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(one)?;
        rest = &rest[unit..];
    }
    Some(total)
}

/// What Go's `time.ParseDuration` reads, where a bare number (but 0) is refused and fractions are not: `1.5h`, `90m`,
/// `-1s`. What is negative counts as zero.
pub fn parse_go(text: &str) -> Option<Duration> {
    let (unsigned, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if unsigned == "0" {
        return Some(Duration::ZERO);
    }
    let (mut total, mut rest) = (Duration::ZERO, unsigned);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |at| at + digits);
        let seconds = match &rest[digits..unit] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    (!unsigned.is_empty()).then_some(if negative { Duration::ZERO } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
        for (text, want) in [
            ("180s", Some(180_000)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("0", Some(0)),
            ("120", Some(120_000)),
            ("x", None),
            ("", None),
            ("5x", None),
            ("18446744073709551615s1s", None),
        ] {
            assert_eq!(parse(text), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (text, want) in [
            ("1h", Some(3_600_000)),
            ("1.5h", Some(5_400_000)),
            ("1h30m5s", Some(5_405_000)),
            ("0", Some(0)),
            ("-2h", Some(0)),
            ("3600", None),
            ("1d", None),
            ("", None),
            ("-", None),
            (".h", None),
            ("9999999999999999999999h", None),
        ] {
            assert_eq!(parse_go(text), want.map(Duration::from_millis), "{text}");
        }
    }
}
