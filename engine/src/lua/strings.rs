//! The functions of Lua's `string` that work by patterns, and `rep`, over [`super::pattern`]: counted and bounded.
use std::cell::Cell;
use std::rc::Rc;

use mlua::{Function, IntoLua as _, Lua, LuaString, MultiValue, Table, Value as LuaValue};

use super::Budget;
use super::pattern::{Captured, Matcher};

/// Length of a text that is made here.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

fn wrong(message: impl Into<String>) -> mlua::Error {
    mlua::Error::RuntimeError(message.into())
}

/// Puts them over those of C.
pub(super) fn install(lua: &Lua, budget: &Rc<Budget>) -> mlua::Result<()> {
    let string: Table = lua.globals().raw_get("string")?;
    for name in ["dump", "gfind"] {
        string.raw_set(name, mlua::Nil)?;
    }
    type Seek = (LuaString, LuaString, Option<f64>, LuaValue);
    for (name, finds) in [("find", true), ("match", false)] {
        let budget = budget.clone();
        let function = lua.create_function(move |lua: &Lua, (text, pattern, init, plain): Seek| {
            let plain = finds && !matches!(plain, LuaValue::Nil | LuaValue::Boolean(false));
            seek(lua, &budget, (&text.as_bytes(), &pattern.as_bytes()), init, plain, finds)
        })?;
        string.raw_set(name, function)?;
    }
    let counted = budget.clone();
    let each = lua.create_function(move |lua: &Lua, (text, pattern): (LuaString, LuaString)| {
        each_match(lua, counted.clone(), text.as_bytes().to_vec(), pattern.as_bytes().to_vec())
    })?;
    string.raw_set("gmatch", each)?;
    let counted = budget.clone();
    type Replace = (LuaString, LuaString, LuaValue, Option<f64>);
    let replace = lua.create_function(move |lua: &Lua, (text, pattern, by, most): Replace| {
        replace(lua, &counted, (&text.as_bytes(), &pattern.as_bytes()), &by, most)
    })?;
    string.raw_set("gsub", replace)?;
    let counted = budget.clone();
    let rep = lua.create_function(move |lua: &Lua, (text, times): (LuaString, f64)| {
        let text = text.as_bytes();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, then is bounded")]
        let times = times.max(0.0) as usize;
        let times = if text.is_empty() { 0 } else { times };
        if text.len().saturating_mul(times) > TEXT_BYTES_MAX {
            return Err(wrong("string.rep: resulting string too large"));
        }
        counted.spend(u64::try_from(times).unwrap_or(u64::MAX) / 16).map_err(wrong)?;
        lua.create_string(text.repeat(times))
    })?;
    string.raw_set("rep", rep)
}

fn values(lua: &Lua, captures: Vec<Captured<'_>>) -> mlua::Result<Vec<LuaValue>> {
    let value = |captured| match captured {
        Captured::Text(text) => lua.create_string(text).map(LuaValue::String),
        Captured::Position(at) => at.into_lua(lua),
    };
    captures.into_iter().map(value).collect()
}

/// `init` as an offset from 0: negative counts from the end.
fn offset(init: Option<f64>, length: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, then is bounded")]
    let init = init.unwrap_or(1.0) as i64;
    let length_signed = i64::try_from(length).unwrap_or(i64::MAX);
    let from = if init < 0 { init.saturating_add(length_signed) } else { init - 1 };
    usize::try_from(from.max(0)).unwrap_or(usize::MAX).min(length)
}

fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

fn seek(
    lua: &Lua,
    budget: &Budget,
    (text, pattern): (&[u8], &[u8]),
    init: Option<f64>,
    plain: bool,
    finds: bool,
) -> mlua::Result<MultiValue> {
    let from = offset(init, text.len());
    if finds && (plain || is_plain(pattern)) {
        budget.spend(u64::try_from(text.len()).unwrap_or(u64::MAX) / 16).map_err(wrong)?;
        let found = if pattern.is_empty() {
            Some(from)
        } else {
            // Counted above only as a scan: the windows end early at their first byte, mostly.
            text[from..].windows(pattern.len()).position(|window| window == pattern).map(|at| from + at)
        };
        return match found {
            None => mlua::Nil.into_lua(lua).map(|nil| MultiValue::from_iter([nil])),
            Some(at) => Ok(MultiValue::from_iter([(at + 1).into_lua(lua)?, (at + pattern.len()).into_lua(lua)?])),
        };
    }
    let (anchored, body) = unanchored(pattern);
    let mut matcher = Matcher::new(text, body, |steps| budget.spend(steps));
    for start in from..=text.len() {
        if let Some(end) = matcher.at(start).map_err(wrong)? {
            let captures = values(lua, matcher.captured(start, end, !finds).map_err(wrong)?)?;
            let mut answer = Vec::new();
            if finds {
                answer.extend([(start + 1).into_lua(lua)?, end.into_lua(lua)?]);
            }
            answer.extend(captures);
            return Ok(MultiValue::from_iter(answer));
        }
        if anchored {
            break;
        }
    }
    Ok(MultiValue::from_iter([LuaValue::Nil]))
}

fn unanchored(pattern: &[u8]) -> (bool, &[u8]) {
    match pattern.strip_prefix(b"^") {
        Some(body) => (true, body),
        None => (false, pattern),
    }
}

fn each_match(lua: &Lua, budget: Rc<Budget>, text: Vec<u8>, pattern: Vec<u8>) -> mlua::Result<Function> {
    let from = Cell::new(0);
    lua.create_function(move |lua: &Lua, _: MultiValue| {
        let mut matcher = Matcher::new(&text, &pattern, |steps| budget.spend(steps));
        for start in from.get()..=text.len() {
            if let Some(end) = matcher.at(start).map_err(wrong)? {
                // An empty match goes on behind itself.
                from.set(if end == start { end + 1 } else { end });
                return Ok(MultiValue::from_iter(values(lua, matcher.captured(start, end, true).map_err(wrong)?)?));
            }
        }
        from.set(text.len() + 1);
        Ok(MultiValue::from_iter([LuaValue::Nil]))
    })
}

fn replace(
    lua: &Lua,
    budget: &Budget,
    (text, pattern): (&[u8], &[u8]),
    by: &LuaValue,
    most: Option<f64>,
) -> mlua::Result<(LuaString, usize)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let most = most.map_or(usize::MAX, |most| most.max(0.0) as usize);
    let (anchored, body) = unanchored(pattern);
    let mut matcher = Matcher::new(text, body, |steps| budget.spend(steps));
    let (mut made, mut count, mut at) = (Vec::new(), 0, 0);
    while count < most {
        let end = matcher.at(at).map_err(wrong)?;
        if let Some(end) = end {
            count += 1;
            let captures = matcher.captured(at, end, true).map_err(wrong)?;
            let numbered = |number| matcher.numbered(number, at, end).map_err(wrong);
            put(lua, &mut made, by, &text[at..end], captures, &numbered)?;
        }
        match end {
            Some(end) if end > at => at = end,
            _ if at < text.len() => {
                made.push(text[at]);
                at += 1;
            }
            _ => break,
        }
        if made.len() > TEXT_BYTES_MAX {
            return Err(wrong("string.gsub: resulting string too large"));
        }
        if anchored {
            break;
        }
    }
    made.extend_from_slice(text.get(at..).unwrap_or_default());
    Ok((lua.create_string(made)?, count))
}

/// Adds what one match is replaced by.
fn put<'a>(
    lua: &Lua,
    made: &mut Vec<u8>,
    by: &LuaValue,
    whole: &[u8],
    captures: Vec<Captured<'a>>,
    numbered: &dyn Fn(usize) -> mlua::Result<Captured<'a>>,
) -> mlua::Result<()> {
    let found: LuaValue = match by {
        LuaValue::Table(table) => {
            let key = values(lua, captures)?.into_iter().next().unwrap_or(LuaValue::Nil);
            table.get(key)?
        }
        LuaValue::Function(function) => function.call(MultiValue::from_iter(values(lua, captures)?))?,
        other => {
            let Some(template) = lua.coerce_string(other.clone())? else {
                return Err(wrong("string.gsub: the replacement must be a string, a function or a table"));
            };
            let template = template.as_bytes();
            let mut bytes = template.iter();
            while let Some(&byte) = bytes.next() {
                match (byte, if byte == b'%' { bytes.next() } else { None }) {
                    (b'%', Some(digit)) if digit.is_ascii_digit() => match numbered(usize::from(digit - b'0'))? {
                        Captured::Text(text) => made.extend_from_slice(text),
                        Captured::Position(at) => made.extend_from_slice(at.to_string().as_bytes()),
                    },
                    (b'%', Some(other)) => made.push(*other),
                    (byte, _) => made.push(byte),
                }
            }
            return Ok(());
        }
    };
    match found {
        LuaValue::Nil | LuaValue::Boolean(false) => made.extend_from_slice(whole),
        found => match lua.coerce_string(found)? {
            Some(text) => made.extend_from_slice(&text.as_bytes()),
            None => return Err(wrong("string.gsub: invalid replacement value")),
        },
    }
    Ok(())
}
