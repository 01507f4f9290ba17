//! Patterns as Argo CD matches them. Three kinds: globs of gobwas/glob (source repositories, destinations, sync
//! windows, RBAC), Go's `path.Match` (group, kind and name of a project's lists) and, for namespaces, a regular
//! expression between slashes. `globset` is not used: its `*` never crosses `/` and its `**` only does as a whole
//! component, where gobwas lets the caller name the separators, and mostly none is named. Pure; matching takes time
//! in proportion to pattern times text, whoever wrote the pattern.
use regex::Regex;

/// Braces in braces; nobody needs more, and parsing recurses.
const DEPTH_MAX: usize = 32;

/// What one place of a pattern matches.
#[derive(Debug, Clone, PartialEq)]
enum Set {
    One(char),
    /// `**`, and `*` and `?` where there are no separators.
    Any,
    /// All but the separators.
    Not(Vec<char>),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Set {
    fn has(&self, c: char) -> bool {
        match self {
            Self::One(own) => *own == c,
            Self::Any => true,
            Self::Not(separators) => !separators.contains(&c),
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    One(Set),
    Many(Set),
    Either(Vec<Vec<Node>>),
}

/// The places of the text that can be reached when `nodes` follow the places `at`.
fn advance(nodes: &[Node], text: &[char], mut at: Vec<bool>) -> Vec<bool> {
    for node in nodes {
        match node {
            Node::One(set) => {
                let mut next = vec![false; at.len()];
                for (place, c) in text.iter().enumerate() {
                    next[place + 1] = at[place] && set.has(*c);
                }
                at = next;
            }
            Node::Many(set) => {
                for (place, c) in text.iter().enumerate() {
                    at[place + 1] |= at[place] && set.has(*c);
                }
            }
            Node::Either(branches) => {
                let mut next = vec![false; at.len()];
                for branch in branches {
                    let reached = advance(branch, text, at.clone());
                    next.iter_mut().zip(reached).for_each(|(place, reached)| *place |= reached);
                }
                at = next;
            }
        }
    }
    at
}

fn reaches_the_end(nodes: &[Node], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut at = vec![false; text.len() + 1];
    at[0] = true;
    advance(nodes, &text, at).last().copied().unwrap_or_default()
}

/// A glob of gobwas/glob: `*` (no separator), `**` (anything), `?`, `[a-z]`, `[abc]`, `[!a]`, `{a,b*}`, `\` escapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Glob {
    nodes: Vec<Node>,
}

impl Glob {
    /// Without separators: `*` crosses everything. So Argo CD matches RBAC objects, clusters, namespaces and names.
    pub fn new(pattern: &str) -> Result<Self, String> {
        Self::with_separators(pattern, &[])
    }

    /// With separators that `*` and `?` do not cross (Argo CD: `/` in source repositories).
    pub fn with_separators(pattern: &str, separators: &[char]) -> Result<Self, String> {
        let mut parser = Parser { rest: pattern.chars().collect(), at: 0, separators };
        let nodes = parser.sequence(0).map_err(|problem| format!("{pattern:?} is no glob: {problem}"))?;
        Ok(Self { nodes })
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        reaches_the_end(&self.nodes, text)
    }
}

struct Parser<'a> {
    rest: Vec<char>,
    at: usize,
    separators: &'a [char],
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn wild(&self) -> Set {
        if self.separators.is_empty() { Set::Any } else { Set::Not(self.separators.to_vec()) }
    }

    /// Up to the end, or, in braces, up to `,` or `}`, which stays.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, &'static str> {
        let mut nodes = Vec::new();
        while let Some(c) = self.peek() {
            if depth > 0 && matches!(c, ',' | '}') {
                break;
            }
            self.at += 1;
            nodes.push(match c {
                '*' if self.peek() == Some('*') => {
                    while self.peek() == Some('*') {
                        self.at += 1;
                    }
                    Node::Many(Set::Any)
                }
                '*' => Node::Many(self.wild()),
                '?' => Node::One(self.wild()),
                '[' => Node::One(self.class()?),
                '{' => self.braces(depth + 1)?,
                '\\' => Node::One(Set::One(self.next().ok_or("it ends with a backslash")?)),
                c => Node::One(Set::One(c)),
            });
        }
        Ok(nodes)
    }

    fn braces(&mut self, depth: usize) -> Result<Node, &'static str> {
        if depth > DEPTH_MAX {
            return Err("too many braces in braces");
        }
        let mut branches = Vec::new();
        loop {
            branches.push(self.sequence(depth)?);
            match self.next() {
                Some(',') => {}
                Some(_) => return Ok(Node::Either(branches)),
                None => return Err("a { is not closed"),
            }
        }
    }

    /// Either one range or one set of characters; never both.
    fn class(&mut self) -> Result<Set, &'static str> {
        let negated = self.peek() == Some('!');
        self.at += usize::from(negated);
        if self.rest.get(self.at + 1) == Some(&'-') {
            let (low, high) = (self.rest[self.at], self.rest.get(self.at + 2).copied().ok_or("a [ is not closed")?);
            self.at += 3;
            return match self.next() {
                Some(']') if low <= high => Ok(Set::Class { negated, ranges: vec![(low, high)] }),
                Some(']') => Err("a range runs backwards"),
                _ => Err("a [ is not closed"),
            };
        }
        let mut ranges = Vec::new();
        loop {
            let c = match self.next().ok_or("a [ is not closed")? {
                ']' if ranges.is_empty() => return Err("a [] is empty"),
                ']' => return Ok(Set::Class { negated, ranges }),
                '\\' => self.next().ok_or("it ends with a backslash")?,
                c => c,
            };
            ranges.push((c, c));
        }
    }
}

/// As [`Glob::new`]; a pattern that is no glob matches nothing (Argo CD, util/glob).
pub fn matches(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).is_ok_and(|glob| glob.matches(text))
}

/// Whether a namespace is in a list whose entries are globs, or regular expressions between slashes (Argo CD,
/// "Applications in any namespace"; unanchored). Expressions with look-around, which Argo CD takes, match nothing.
pub fn in_namespaces(list: &[String], namespace: &str) -> bool {
    list.iter().any(|entry| {
        let expression =
            entry.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|rest| !rest.is_empty());
        expression.is_some_and(|expression| Regex::new(expression).is_ok_and(|regex| regex.is_match(namespace)))
            || matches(entry, namespace)
    })
}

/// Go's `path.Match`: `*` and `?` do not cross `/`, `[^a-cx]`, `\` escapes, no braces. A bad pattern matches nothing.
pub fn path_matches(pattern: &str, text: &str) -> bool {
    path_nodes(pattern).is_some_and(|nodes| reaches_the_end(&nodes, text))
}

fn path_nodes(pattern: &str) -> Option<Vec<Node>> {
    let mut chars = pattern.chars().peekable();
    let mut nodes = Vec::new();
    while let Some(c) = chars.next() {
        nodes.push(match c {
            '*' => Node::Many(Set::Not(vec!['/'])),
            '?' => Node::One(Set::Not(vec!['/'])),
            '\\' => Node::One(Set::One(chars.next()?)),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
                    let low = class_char(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() { class_char(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                Node::One(Set::Class { negated, ranges })
            }
            c => Node::One(Set::One(c)),
        });
    }
    Some(nodes)
}

fn class_char(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests;
