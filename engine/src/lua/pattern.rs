//! Lua 5.1's patterns (reference manual, 5.4.1), with every step counted: the matcher of C cannot be interrupted, and
//! some patterns take for ever. Knows nothing of the virtual machine.

/// Open items that wait for the rest of the pattern.
const DEPTH_MAX: usize = 200;
const CAPTURES_MAX: usize = 32;
/// Steps between two words with the budget.
const TELL_EVERY: u64 = 256;

/// Where a capture ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Position,
    At(usize),
}

/// What a capture holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Captured<'a> {
    Text(&'a [u8]),
    /// From 1.
    Position(usize),
}

/// A pattern on its way through a text.
pub(super) struct Matcher<'a, F> {
    text: &'a [u8],
    pattern: &'a [u8],
    captures: Vec<(usize, End)>,
    depth: usize,
    steps: u64,
    spend: F,
}

type Matched<T> = Result<Option<T>, String>;

impl<'a, F: FnMut(u64) -> Result<(), String>> Matcher<'a, F> {
    /// `spend` is told of steps, and ends the match by an error.
    pub(super) fn new(text: &'a [u8], pattern: &'a [u8], spend: F) -> Self {
        Self { text, pattern, captures: Vec::new(), depth: 0, steps: 0, spend }
    }

    /// The end of a match that begins exactly here.
    pub(super) fn at(&mut self, start: usize) -> Matched<usize> {
        self.captures.clear();
        self.rest(start, 0)
    }

    /// The captures of the last match, or the whole of it when there are none and `whole` is asked for.
    pub(super) fn captured(&self, start: usize, end: usize, whole: bool) -> Result<Vec<Captured<'a>>, String> {
        if self.captures.is_empty() && whole {
            return Ok(vec![Captured::Text(&self.text[start..end])]);
        }
        self.captures.iter().map(|capture| self.one(*capture)).collect()
    }

    /// Capture `%1` … `%9`; `%0` is the whole match.
    pub(super) fn numbered(&self, number: usize, start: usize, end: usize) -> Result<Captured<'a>, String> {
        match (number, self.captures.get(number.wrapping_sub(1))) {
            (0, _) => Ok(Captured::Text(&self.text[start..end])),
            (_, Some(capture)) => self.one(*capture),
            (1, None) => Ok(Captured::Text(&self.text[start..end])),
            _ => Err(format!("invalid capture index %{number}")),
        }
    }

    fn one(&self, (start, end): (usize, End)) -> Result<Captured<'a>, String> {
        match end {
            End::At(end) => Ok(Captured::Text(&self.text[start..end])),
            End::Position => Ok(Captured::Position(start + 1)),
            End::Open => Err("unfinished capture".to_owned()),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps.is_multiple_of(TELL_EVERY) { (self.spend)(TELL_EVERY) } else { Ok(()) }
    }

    fn rest(&mut self, text: usize, pattern: usize) -> Matched<usize> {
        if self.depth >= DEPTH_MAX {
            return Err("pattern too complex".to_owned());
        }
        self.depth += 1;
        let end = self.items(text, pattern);
        self.depth -= 1;
        end
    }

    fn items(&mut self, mut text: usize, mut pattern: usize) -> Matched<usize> {
        loop {
            self.step()?;
            let next = self.pattern.get(pattern + 1).copied();
            match self.pattern.get(pattern) {
                None => return Ok(Some(text)),
                Some(b'(') if next == Some(b')') => return self.open(text, pattern + 2, End::Position),
                Some(b'(') => return self.open(text, pattern + 1, End::Open),
                Some(b')') => return self.close(text, pattern + 1),
                Some(b'$') if next.is_none() => return Ok((text == self.text.len()).then_some(text)),
                Some(b'%') if next == Some(b'b') => {
                    let Some(end) = self.balanced(text, pattern + 2)? else { return Ok(None) };
                    (text, pattern) = (end, pattern + 4);
                }
                Some(b'%') if next == Some(b'f') => {
                    let set = pattern + 2;
                    if self.pattern.get(set) != Some(&b'[') {
                        return Err("missing '[' after '%f' in pattern".to_owned());
                    }
                    let end = self.item_end(set)?;
                    let before = text.checked_sub(1).map_or(0, |at| self.text[at]);
                    let here = self.text.get(text).copied().unwrap_or_default();
                    if self.single(before, set, end) || !self.single(here, set, end) {
                        return Ok(None);
                    }
                    pattern = end;
                }
                Some(b'%') if next.is_some_and(|digit| digit.is_ascii_digit()) => {
                    let Some(end) = self.again(text, next.unwrap_or_default())? else { return Ok(None) };
                    (text, pattern) = (end, pattern + 2);
                }
                Some(_) => {
                    let end = self.item_end(pattern)?;
                    let fits = self.text.get(text).is_some_and(|byte| self.single(*byte, pattern, end));
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if fits && let Some(found) = self.rest(text + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            pattern = end + 1;
                        }
                        Some(b'*') => return self.most(text, pattern, end),
                        Some(b'+') => return if fits { self.most(text + 1, pattern, end) } else { Ok(None) },
                        Some(b'-') => return self.fewest(text, pattern, end),
                        _ if fits => (text, pattern) = (text + 1, end),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    fn most(&mut self, text: usize, item: usize, end: usize) -> Matched<usize> {
        let mut count = 0;
        while self.text.get(text + count).is_some_and(|byte| self.single(*byte, item, end)) {
            self.step()?;
            count += 1;
        }
        loop {
            if let Some(found) = self.rest(text + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn fewest(&mut self, mut text: usize, item: usize, end: usize) -> Matched<usize> {
        loop {
            if let Some(found) = self.rest(text, end + 1)? {
                return Ok(Some(found));
            }
            if !self.text.get(text).is_some_and(|byte| self.single(*byte, item, end)) {
                return Ok(None);
            }
            text += 1;
        }
    }

    fn open(&mut self, text: usize, pattern: usize, end: End) -> Matched<usize> {
        if self.captures.len() >= CAPTURES_MAX {
            return Err("too many captures".to_owned());
        }
        self.captures.push((text, end));
        let kept = self.captures.len() - 1;
        let found = self.rest(text, pattern)?;
        if found.is_none() {
            self.captures.truncate(kept);
        }
        Ok(found)
    }

    fn close(&mut self, text: usize, pattern: usize) -> Matched<usize> {
        let Some(at) = self.captures.iter().rposition(|(_, end)| *end == End::Open) else {
            return Err("invalid pattern capture".to_owned());
        };
        self.captures[at].1 = End::At(text);
        let found = self.rest(text, pattern)?;
        if found.is_none() {
            self.captures[at].1 = End::Open;
        }
        Ok(found)
    }

    /// `%bxy`.
    fn balanced(&mut self, text: usize, pattern: usize) -> Matched<usize> {
        let (Some(&open), Some(&close)) = (self.pattern.get(pattern), self.pattern.get(pattern + 1)) else {
            return Err("unbalanced pattern".to_owned());
        };
        if self.text.get(text) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1;
        for at in text + 1..self.text.len() {
            self.step()?;
            let byte = self.text[at];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%1`: the same text again.
    fn again(&mut self, text: usize, digit: u8) -> Matched<usize> {
        let number = usize::from(digit - b'0').wrapping_sub(1);
        let Some((start, End::At(end))) = self.captures.get(number).copied() else {
            return Err("invalid capture index".to_owned());
        };
        let wanted = &self.text[start..end];
        (self.spend)(u64::try_from(wanted.len()).unwrap_or(u64::MAX) / 16)?;
        Ok(self.text[text..].starts_with(wanted).then_some(text + wanted.len()))
    }

    /// Where a single-character item ends.
    fn item_end(&self, item: usize) -> Result<usize, String> {
        match self.pattern.get(item) {
            Some(b'%') if item + 1 >= self.pattern.len() => Err("malformed pattern (ends with '%')".to_owned()),
            Some(b'%') => Ok(item + 2),
            Some(b'[') => {
                let mut at = if self.pattern.get(item + 1) == Some(&b'^') { item + 2 } else { item + 1 };
                // A bracket that comes first is one of the set.
                let first = at;
                loop {
                    match self.pattern.get(at) {
                        None => return Err("malformed pattern (missing ']')".to_owned()),
                        Some(b']') if at > first => return Ok(at + 1),
                        Some(b'%') => at += 2,
                        Some(_) => at += 1,
                    }
                }
            }
            _ => Ok(item + 1),
        }
    }

    /// Whether one byte is of the item `item..end`.
    fn single(&self, byte: u8, item: usize, end: usize) -> bool {
        match self.pattern[item] {
            b'.' => true,
            b'%' => of_class(byte, self.pattern[item + 1]),
            b'[' => self.of_set(byte, item + 1, end - 1),
            literal => literal == byte,
        }
    }

    fn of_set(&self, byte: u8, mut at: usize, end: usize) -> bool {
        let inverse = self.pattern[at] == b'^';
        if inverse {
            at += 1;
        }
        while at < end {
            if self.pattern[at] == b'%' && at + 1 < end {
                if of_class(byte, self.pattern[at + 1]) {
                    return !inverse;
                }
                at += 2;
            } else if at + 2 < end && self.pattern[at + 1] == b'-' {
                if (self.pattern[at]..=self.pattern[at + 2]).contains(&byte) {
                    return !inverse;
                }
                at += 3;
            } else {
                if self.pattern[at] == byte {
                    return !inverse;
                }
                at += 1;
            }
        }
        inverse
    }
}

fn of_class(byte: u8, class: u8) -> bool {
    let inside = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    inside != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_manual_says() {
        // What lua5.1 answers to string.find(text, pattern), 1-based and inclusive.
        for (text, pattern, want) in [
            ("hello world", "o w", Some((5, 7))),
            ("hello", "l+", Some((3, 4))),
            ("hello", "l-o", Some((3, 5))),
            ("hello", "^e", None),
            ("hello", "o$", Some((5, 5))),
            ("a.b", "%.", Some((2, 2))),
            ("key = value", "(%w+)%s*=%s*(%w+)", Some((1, 11))),
            ("f(a(b)c)d", "%b()", Some((2, 8))),
            ("THE (quick) fox", "%f[%a]%a+%f[%A]", Some((1, 3))),
            ("\"quoted\"", "([\"'])(.-)%1", Some((1, 8))),
            ("x]y", "[]]", Some((2, 2))),
            ("x-y", "[a%-]", Some((2, 2))),
            ("abc", "[^a-b]", Some((3, 3))),
            ("ab", "ab?c?", Some((1, 2))),
            ("", ".*", Some((1, 0))),
            ("aXb", "%u", Some((2, 2))),
            ("12ab", "%D+", Some((3, 4))),
        ] {
            let anchored = pattern.starts_with('^');
            let body = pattern.trim_start_matches('^').as_bytes();
            let mut matcher = Matcher::new(text.as_bytes(), body, |_| Ok(()));
            let found = (0..=text.len())
                .take(if anchored { 1 } else { usize::MAX })
                .find_map(|start| matcher.at(start).unwrap().map(|end| (start + 1, end)));
            assert_eq!(found, want, "{text:?} {pattern:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["[a", "%", "(a", "%1", "a)", "%f", "%b"] {
            let mut matcher = Matcher::new(b"aaa", pattern.as_bytes(), |_| Ok(()));
            let end = matcher.at(0).and_then(|end| matcher.captured(0, end.unwrap_or_default(), true).map(|_| end));
            assert!(end.is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_takes_for_ever_is_ended() {
        let text = [b'a'; 3000];
        let pattern = ".-".repeat(20) + "b";
        let mut left = 1_000_000_u64;
        let mut matcher = Matcher::new(&text, pattern.as_bytes(), |steps| {
            left = left.checked_sub(steps).ok_or("over")?;
            Ok(())
        });
        assert_eq!(matcher.at(0), Err("over".to_owned()));
    }
}
