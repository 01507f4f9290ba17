//! Versions and their constraints as Masterminds/semver v3 reads them, which is what Argo CD resolves a `targetRevision`
//! with. (The crate `semver` orders versions by the same rules but knows another language of constraints: no `||`, no
//! hyphen, and a bare `1.2.3` is a caret there.) Pure.
use semver::{BuildMetadata, Prerelease};

pub use semver::Version;

/// Bytes of a version, and of a constraint; alternatives of a constraint (Masterminds' own limits).
const VERSION_BYTES_MAX: usize = 256;
const CONSTRAINT_BYTES_MAX: usize = 512;
const ALTERNATIVES_MAX: usize = 32;

/// A version as tags are written: `v` before it is dropped, a missing minor or patch is 0, leading zeros are allowed.
/// `None` when it is none.
pub fn version(text: &str) -> Option<Version> {
    let mut scan = Scan { rest: text };
    let written = (text.len() <= VERSION_BYTES_MAX).then(|| scan.written())??;
    (scan.rest.is_empty() && written.open() != Open::Major && !written.parts.contains(&Some(Part::Any)))
        .then(|| written.version())
        .flatten()
}

/// What a version may be: alternatives (`||`) of terms that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    alternatives: Vec<Vec<Term>>,
}

impl Constraint {
    /// `None` for what is no constraint, as the name of a branch. An exact version is one too.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > CONSTRAINT_BYTES_MAX || text.split("||").count() > ALTERNATIVES_MAX {
            return None;
        }
        let alternatives = text.split("||").map(terms).collect::<Option<_>>()?;
        Some(Self { alternatives })
    }

    /// Whether it admits this version. One with a pre-release is admitted only by terms of which one names a
    /// pre-release itself.
    pub fn admits(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|terms| {
            let named = terms.iter().any(|term| !term.version.pre.is_empty());
            (version.pre.is_empty() || named) && terms.iter().all(|term| term.admits(version))
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Tilde,
    Caret,
}

/// Longer ones first.
const OPS: [(&str, Op); 11] = [
    ("!=", Op::NotEqual),
    (">=", Op::GreaterEqual),
    ("=>", Op::GreaterEqual),
    ("<=", Op::LessEqual),
    ("=<", Op::LessEqual),
    ("~>", Op::Tilde),
    ("=", Op::Equal),
    (">", Op::Greater),
    ("<", Op::Less),
    ("~", Op::Tilde),
    ("^", Op::Caret),
];

/// From where on a version is left open, by `x`, `*` or absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Patch,
    Minor,
    Major,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    op: Op,
    version: Version,
    open: Open,
}

impl Term {
    fn admits(&self, version: &Version) -> bool {
        let (own, open) = (&self.version, self.open);
        let order = version.cmp_precedence(own);
        let major = version.major == own.major;
        let minor = version.minor == own.minor;
        let whole = matches!(open, Open::Nothing | Open::Major);
        match self.op {
            Op::Equal if open == Open::Nothing => order.is_eq(),
            Op::Equal | Op::Tilde => {
                let any = whole && (own.major, own.minor, own.patch) == (0, 0, 0);
                order.is_ge() && (any || major && (minor || open == Open::Minor))
            }
            Op::NotEqual => match open {
                Open::Minor => !major,
                Open::Patch => !(major && minor && version.pre == own.pre),
                Open::Nothing | Open::Major => order.is_ne(),
            },
            Op::Greater => match open {
                Open::Minor => version.major > own.major,
                Open::Patch => (version.major, version.minor) > (own.major, own.minor),
                Open::Nothing | Open::Major => order.is_gt(),
            },
            Op::GreaterEqual => order.is_ge(),
            Op::Less => order.is_lt(),
            Op::LessEqual if open == Open::Nothing => order.is_le(),
            Op::LessEqual => version.major < own.major || major && (open == Open::Minor || version.minor <= own.minor),
            Op::Caret => order.is_ge() && self.same_below_the_first_that_counts(version),
        }
    }

    /// `^1.2.3` leaves the minor free, `^0.2.3` the patch, `^0.0.3` nothing.
    fn same_below_the_first_that_counts(&self, version: &Version) -> bool {
        let own = &self.version;
        if version.major != own.major {
            return false;
        }
        if own.major > 0 || self.open == Open::Minor {
            return true;
        }
        version.minor == own.minor && (own.minor > 0 || self.open == Open::Patch || version.patch == own.patch)
    }
}

/// The terms of one alternative: `[op]version`, or `version - version`, divided by spaces or a comma.
fn terms(text: &str) -> Option<Vec<Term>> {
    let mut scan = Scan { rest: text };
    let mut terms = Vec::new();
    scan.spaces();
    // What stands before a hyphen's range: nothing or a comma.
    let mut divided = true;
    loop {
        let op = OPS.iter().find(|(sign, _)| scan.takes(sign)).map(|(_, op)| *op);
        scan.spaces();
        let first = scan.written()?;
        let spaced = scan.spaces();
        if op.is_none() && divided && spaced && scan.rest.starts_with('-') {
            scan.takes("-");
            if !scan.spaces() {
                return None;
            }
            terms.push(first.term(Op::GreaterEqual)?);
            terms.push(scan.written()?.term(Op::LessEqual)?);
            divided = scan.spaces();
        } else {
            terms.push(first.term(op.unwrap_or(Op::Equal))?);
            divided = spaced;
        }
        if scan.rest.is_empty() {
            return Some(terms);
        }
        let comma = scan.takes(",");
        scan.spaces();
        if !(comma || divided) {
            return None;
        }
        divided = comma;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Number(u64),
    Any,
}

/// A version as it stands in the text.
struct Written<'a> {
    parts: [Option<Part>; 3],
    pre: &'a str,
}

impl Written<'_> {
    fn open(&self) -> Open {
        let open = |part: Option<Part>| !matches!(part, Some(Part::Number(_)));
        match self.parts.map(open) {
            [true, ..] => Open::Major,
            [_, true, _] => Open::Minor,
            [_, _, true] => Open::Patch,
            _ => Open::Nothing,
        }
    }

    /// What is open counts as 0, and so does what comes after it.
    fn version(&self) -> Option<Version> {
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(self.parts) {
            let Some(Part::Number(written)) = part else { break };
            *number = written;
        }
        let [major, minor, patch] = numbers;
        Some(Version { major, minor, patch, pre: Prerelease::new(self.pre).ok()?, build: BuildMetadata::EMPTY })
    }

    fn term(&self, op: Op) -> Option<Term> {
        Some(Term { op, version: self.version()?, open: self.open() })
    }
}

/// Reads from the front.
struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn takes(&mut self, sign: &str) -> bool {
        self.rest.strip_prefix(sign).map(|rest| self.rest = rest).is_some()
    }

    fn spaces(&mut self) -> bool {
        !self.run(|byte| matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' ')).is_empty()
    }

    /// The longest run of such bytes, which are ASCII.
    fn run(&mut self, is: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !is(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    /// `v1.2.3-pre.1+build`, of which only the first part must be there.
    fn written(&mut self) -> Option<Written<'a>> {
        self.takes("v");
        let mut parts = [Some(self.part()?), None, None];
        for part in &mut parts[1..] {
            let before = self.rest;
            if !self.takes(".") {
                break;
            }
            if !self.rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, 'x' | 'X' | '*')) {
                self.rest = before;
                break;
            }
            *part = Some(self.part()?);
        }
        let pre = self.after("-");
        self.after("+");
        Some(Written { parts, pre })
    }

    fn part(&mut self) -> Option<Part> {
        match self.run(|byte| byte.is_ascii_digit() || matches!(byte, b'x' | b'X' | b'*')) {
            "x" | "X" | "*" => Some(Part::Any),
            digits => digits.parse().ok().map(Part::Number),
        }
    }

    /// Identifiers divided by dots after a sign; empty when there are none.
    fn after(&mut self, sign: &str) -> &'a str {
        let before = self.rest;
        let found = if self.takes(sign) {
            self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        } else {
            ""
        };
        if found.is_empty() || found.split('.').any(str::is_empty) {
            self.rest = before;
            return "";
        }
        found
    }
}

#[cfg(test)]
mod tests;
