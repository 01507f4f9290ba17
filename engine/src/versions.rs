//! Versions and constraints upon them, as Masterminds' `semver` for Go reads them: that library decides for Helm, and for Argo
//! CD's tags and charts (user guide, "Tracking and Deployment Strategies"). The `semver` crate follows Cargo's rules, which differ
//! (`1.2.3` alone, `||`, hyphens, `x`), so only its order of versions is taken. Pure.
use semver::{BuildMetadata, Prerelease, Version};

/// Longer constraints are none, as in the library.
const CONSTRAINT_BYTES_MAX: usize = 512;
/// As for [`CONSTRAINT_BYTES_MAX`], alternatives.
const ALTERNATIVES_MAX: usize = 32;
/// Longer versions are none.
const VERSION_BYTES_MAX: usize = 256;

/// The text is a version, not a constraint: it pins. Also `v1`, `1.2` and versions with leading zeros.
pub fn is_version(text: &str) -> bool {
    parse(text).is_some()
}

/// The text is a constraint that several versions may match: it can be read as one, and is no version.
pub fn is_constraint(text: &str) -> bool {
    !is_version(text) && Constraint::parse(text).is_some()
}

/// The highest of `versions` that matches, as it is written there; what is no version is passed over. A pin matches its
/// own version, whatever the prefix `v`. `None` also for what is no constraint.
pub fn highest(versions: &[String], constraint: &str) -> Option<String> {
    let constraint = Constraint::parse(constraint)?;
    let mut best: Option<(Version, &String)> = None;
    for text in versions {
        let Some(version) = parse(text).filter(|version| constraint.matches(version)) else { continue };
        if best.as_ref().is_none_or(|(highest, _)| version.cmp_precedence(highest).is_gt()) {
            best = Some((version, text));
        }
    }
    best.map(|(_, text)| text.clone())
}

/// A version, with missing parts as zeros.
fn parse(text: &str) -> Option<Version> {
    let mut scanner = Scanner(text);
    let written = scanner.version(false)?;
    if !scanner.0.is_empty() || text.len() > VERSION_BYTES_MAX {
        return None;
    }
    written.version(3)
}

/// Alternatives of comparisons that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint(Vec<Vec<Comparison>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    operator: Operator,
    than: Version,
    /// How many numbers were written before the first `x`: of three, the comparison is exact.
    precision: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

/// In the order in which they are tried: the longer first.
const OPERATORS: &[(&str, Operator)] = &[
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

impl Constraint {
    /// Reads a constraint; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let alternatives: Vec<&str> = text.split("||").collect();
        if text.len() > CONSTRAINT_BYTES_MAX || alternatives.len() > ALTERNATIVES_MAX {
            return None;
        }
        alternatives.into_iter().map(Comparison::all).collect::<Option<_>>().map(Self)
    }

    /// A version satisfies it. Pre-releases do only where the same alternative names one.
    pub fn matches(&self, version: &Version) -> bool {
        self.0.iter().any(|all| {
            (version.pre.is_empty() || all.iter().any(|comparison| !comparison.than.pre.is_empty()))
                && all.iter().all(|comparison| comparison.holds(version))
        })
    }
}

impl Comparison {
    /// `>=1.2 <2`, `>1, !=1.3`, `1.2 - 1.4`.
    fn all(text: &str) -> Option<Vec<Self>> {
        let mut scanner = Scanner(text);
        let mut all = Vec::new();
        scanner.blank();
        loop {
            let operator = scanner.operator();
            scanner.blank();
            let written = scanner.version(true)?;
            match scanner.hyphen() {
                Some(rest) if operator.is_none() => {
                    scanner.0 = rest;
                    all.push(Self::new(Operator::GreaterOrEqual, &written)?);
                    all.push(Self::new(Operator::LessOrEqual, &scanner.version(true)?)?);
                }
                _ => all.push(Self::new(operator.unwrap_or(Operator::Equal), &written)?),
            }
            let apart = scanner.blank();
            if scanner.0.is_empty() {
                return Some(all);
            }
            match scanner.0.strip_prefix(',') {
                Some(rest) => {
                    scanner.0 = rest;
                    scanner.blank();
                }
                None if apart => {}
                None => return None,
            }
        }
    }

    fn new(operator: Operator, written: &Written<'_>) -> Option<Self> {
        let is_number = |part: &&str| !matches!(*part, "x" | "X" | "*");
        let precision = written.numbers.iter().take_while(|part| is_number(part)).count();
        Some(Self { operator, than: written.version(precision)?, precision })
    }

    fn holds(&self, version: &Version) -> bool {
        let Self { operator, than, precision } = self;
        let order = version.cmp_precedence(than);
        let major = version.major.cmp(&than.major);
        let minor = version.minor.cmp(&than.minor);
        match operator {
            Operator::Equal if *precision == 3 => order.is_eq(),
            Operator::Equal | Operator::Tilde => order.is_ge() && self.same_minor(version),
            Operator::NotEqual if *precision == 2 && major.is_eq() && minor.is_eq() => version.pre != than.pre,
            Operator::NotEqual if *precision == 1 => !major.is_eq(),
            Operator::NotEqual => !order.is_eq(),
            // Greater than 1.2 is 1.3, greater than 1 is 2.
            Operator::Greater if *precision == 2 => major.then(minor).is_gt(),
            Operator::Greater if *precision == 1 => major.is_gt(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual if *precision == 3 => order.is_le(),
            Operator::LessOrEqual if *precision == 1 => major.is_le(),
            Operator::LessOrEqual => major.then(minor).is_le(),
            Operator::Caret => order.is_ge() && self.compatible(version),
        }
    }

    /// `~`: the same major version, and the same minor one if it was written. `~0.0.0` and `~*` hold for all.
    fn same_minor(&self, version: &Version) -> bool {
        let any = (self.than.major, self.than.minor, self.than.patch) == (0, 0, 0) && matches!(self.precision, 0 | 3);
        any || (version.major == self.than.major && (version.minor == self.than.minor || self.precision == 1))
    }

    /// `^`: the first number that is not zero is the same. As in the library, `^*` is `^0.0.0`.
    fn compatible(&self, version: &Version) -> bool {
        if self.than.major > 0 || self.precision == 1 {
            return version.major == self.than.major;
        }
        let zero = version.major == 0 && version.minor == self.than.minor;
        zero && (self.than.minor > 0 || self.precision == 2 || version.patch == self.than.patch)
    }
}

/// A version as it is written, not yet as numbers.
#[derive(Debug)]
struct Written<'a> {
    numbers: Vec<&'a str>,
    pre: &'a str,
}

impl Written<'_> {
    /// The first `precision` numbers, and zeros. Build metadata does not count.
    fn version(&self, precision: usize) -> Option<Version> {
        let mut numbers = self
            .numbers
            .iter()
            .take(precision)
            .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten());
        let mut next = || numbers.next().unwrap_or(Some(0));
        let (major, minor, patch) = (next()?, next()?, next()?);
        Some(Version { major, minor, patch, pre: Prerelease::new(self.pre).ok()?, build: BuildMetadata::EMPTY })
    }
}

struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    /// Passes over blanks; whether there were any.
    fn blank(&mut self) -> bool {
        let rest = self.0.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
        let apart = rest.len() < self.0.len();
        self.0 = rest;
        apart
    }

    fn operator(&mut self) -> Option<Operator> {
        OPERATORS.iter().find_map(|(text, operator)| {
            self.0 = self.0.strip_prefix(text)?;
            Some(*operator)
        })
    }

    /// What follows ` - `, if that is next.
    fn hyphen(&self) -> Option<&'a str> {
        let mut ahead = Scanner(self.0);
        if !ahead.blank() {
            return None;
        }
        ahead.0 = ahead.0.strip_prefix('-')?;
        ahead.blank().then_some(ahead.0)
    }

    fn take(&mut self, is: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.0.find(|c: char| !is(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        (!taken.is_empty()).then_some(taken)
    }

    /// `v1.2.3-pre.1+build`, of which only the first number must be there; with `x` in the place of numbers when `wild`.
    fn version(&mut self, wild: bool) -> Option<Written<'a>> {
        self.0 = self.0.strip_prefix('v').unwrap_or(self.0);
        let is_number = |c: char| c.is_ascii_digit() || (wild && matches!(c, 'x' | 'X' | '*'));
        let mut numbers = vec![self.take(is_number)?];
        while let Some(rest) = self.0.strip_prefix('.').filter(|_| numbers.len() < 3) {
            self.0 = rest;
            numbers.push(self.take(is_number)?);
        }
        let mut pre = "";
        if let Some(rest) = self.0.strip_prefix('-') {
            self.0 = rest;
            pre = self.identifiers()?;
        }
        if let Some(rest) = self.0.strip_prefix('+') {
            self.0 = rest;
            self.identifiers()?;
        }
        Some(Written { numbers, pre })
    }

    fn identifiers(&mut self) -> Option<&'a str> {
        let all = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))?;
        all.split('.').all(|part| !part.is_empty()).then_some(all)
    }
}

#[cfg(test)]
mod tests;
