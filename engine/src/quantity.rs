//! Kubernetes quantities (`500m`, `1Gi`, `1e3`) in the form that the API server stores them in
//! (k8s.io/apimachinery `pkg/api/resource`, "canonical form"). Pure.

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// `mantissa` times ten to the power of `scale`.
#[derive(Debug, Clone)]
struct Quantity {
    mantissa: i128,
    scale: i32,
    format: Format,
    /// Kept when Kubernetes takes the text for canonical already, which it does a bit too often (`1.500`).
    text: Option<String>,
    /// Beyond 64 bits or below nano: Kubernetes keeps these as big decimals.
    big: bool,
}

const NANO: i32 = -9;
const MILLI: i32 = -3;
const DIGITS_MAX: usize = 18;

/// The text that Kubernetes would write for this one. None: it would refuse it.
pub(crate) fn canonical(text: &str) -> Option<String> {
    Some(parse(text.trim())?.write())
}

/// The same, rounded up to thousandths, as defaulting does to resource lists.
pub(crate) fn rounded_up(text: &str) -> Option<String> {
    let mut quantity = parse(text.trim())?;
    if quantity.big || quantity.scale < MILLI {
        quantity.text = None;
        quantity.round_up(MILLI);
    }
    Some(quantity.write())
}

fn interpret(suffix: &str) -> Option<(Format, i32)> {
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(at) = decimal.iter().position(|known| *known == suffix) {
        return Some((Format::Decimal, i32::try_from(at).ok()? * 3 + NANO));
    }
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(at) = binary.iter().position(|known| *known == suffix) {
        return Some((Format::Binary, (i32::try_from(at).ok()? + 1) * 10));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Format::Exponent, exponent))
}

fn parse(text: &str) -> Option<Quantity> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    let stripped = unsigned.trim_start_matches('0');
    if stripped.is_empty() {
        return Some(Quantity { mantissa: 0, scale: 0, format: Format::Decimal, text: None, big: false });
    }
    let (whole, rest) = stripped.split_at(digits(stripped));
    let whole = if whole.is_empty() { "0" } else { whole };
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if unsigned.starts_with(|c: char| !c.is_ascii_digit() && c != '.') {
        return None;
    }
    let (format, exponent) = interpret(suffix)?;
    let shifted = format!("{whole}{fraction}");
    let value: i128 = shifted.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let negative = text.starts_with('-');
    let signed = |value: i128| if negative { -value } else { value };
    let (factor, scale) = match format {
        Format::Binary => (1_i128.checked_shl(u32::try_from(exponent).ok()?)?, -places),
        _ => (1, exponent.checked_sub(places)?),
    };
    let mantissa = value.checked_mul(factor)?;
    let short = match format {
        Format::Binary => {
            let bits = 15 - i64::try_from(whole.len()).ok()? - i64::from(exponent) * 3 / 10 - 1;
            fraction.is_empty() && bits >= 0
        }
        _ => shifted.len() <= DIGITS_MAX,
    };
    if short && scale >= NANO && i64::try_from(mantissa).is_ok() {
        let kept = match format {
            Format::Binary => value & 7 != 0,
            _ => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
        };
        let text = kept.then(|| text.to_owned());
        return Some(Quantity { mantissa: signed(mantissa), scale, format, text, big: false });
    }
    let mut big = Quantity { mantissa, scale, format, text: None, big: true };
    big.round_up(NANO);
    if format == Format::Binary && big.integer().is_none_or(|whole| whole == 0) && big.below(1) {
        big.format = Format::Decimal;
    }
    big.mantissa = signed(big.mantissa);
    Some(big)
}

impl Quantity {
    /// Away from zero.
    fn round_up(&mut self, scale: i32) {
        while self.scale < scale {
            let rest = self.mantissa % 10;
            self.mantissa = self.mantissa / 10 + rest.signum();
            self.scale += 1;
        }
    }

    /// The value when it is a whole number.
    fn integer(&self) -> Option<i128> {
        if self.scale >= 0 {
            return self.mantissa.checked_mul(10_i128.checked_pow(u32::try_from(self.scale).ok()?)?);
        }
        let unit = 10_i128.checked_pow(self.scale.unsigned_abs())?;
        (self.mantissa % unit == 0).then(|| self.mantissa / unit)
    }

    fn below(&self, limit: i128) -> bool {
        if self.scale >= 0 {
            return self.integer().is_some_and(|value| value.abs() < limit);
        }
        let scaled = 10_i128.checked_pow(self.scale.unsigned_abs()).and_then(|unit| unit.checked_mul(limit));
        scaled.is_none_or(|scaled| self.mantissa.abs() < scaled)
    }

    fn write(&self) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        if self.mantissa == 0 {
            return "0".to_owned();
        }
        if self.format == Format::Binary
            && !self.below(1024)
            && let Some(mut value) = self.integer()
        {
            let mut power = 0;
            while value % 1024 == 0 && power < 6 {
                value /= 1024;
                power += 1;
            }
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(power).unwrap_or(&"");
            return format!("{value}{suffix}");
        }
        let (mut value, mut exponent) = (self.mantissa, self.scale);
        while value % 10 == 0 {
            value /= 10;
            exponent += 1;
        }
        while exponent % 3 != 0 {
            value *= 10;
            exponent -= 1;
        }
        let suffix = match (self.format, exponent) {
            (_, 0) => String::new(),
            (Format::Exponent, exponent) => format!("e{exponent}"),
            (_, exponent) => {
                let at = usize::try_from((exponent - NANO) / 3).ok();
                let known = at.and_then(|at| ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"].get(at));
                known.map_or_else(|| format!("e{exponent}"), |suffix| (*suffix).to_owned())
            }
        };
        format!("{value}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_kubernetes_stores_them() {
        for (text, want) in [
            ("1000m", "1"),
            ("1", "1"),
            ("1.0", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("100m", "100m"),
            ("1500m", "1500m"),
            ("2000m", "2"),
            ("1024Mi", "1Gi"),
            ("1536Mi", "1536Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("0", "0"),
            ("0Mi", "0"),
            ("000", "0"),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("1E", "1E"),
            ("1000k", "1M"),
            ("1000", "1k"),
            ("10000", "10k"),
            ("128974848", "128974848"),
            ("0.1Ki", "102400m"),
            ("-1500m", "-1500m"),
            ("0.0000000001", "1n"),
            ("1.500", "1.500"),
            ("5.", "5."),
            ("256Mi", "256Mi"),
            ("2048Mi", "2Gi"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(want), "{text}");
        }
        for text in ["", "a", "1x", "1 Gi", "1KB", "--1", "1e", "1.5.5"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn resource_lists_know_no_less_than_a_thousandth() {
        for (text, want) in [("100u", "1m"), ("1500u", "2m"), ("1.5", "1500m"), ("1Gi", "1Gi")] {
            assert_eq!(rounded_up(text).as_deref(), Some(want), "{text}");
        }
    }
}
