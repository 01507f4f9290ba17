//! The `os` library as far as it is harmless: `time`, `date` and `clock`, all in UTC, and `math.random` without the
//! process-wide state that C gives it. The time is the caller's.
use std::cell::Cell;
use std::rc::Rc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use mlua::{Lua, Table, Value as LuaValue};

use super::Budget;

fn wrong(error: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::RuntimeError(error.to_string())
}

fn seconds(budget: &Budget) -> i64 {
    i64::try_from((budget.clock)().as_secs()).unwrap_or(i64::MAX)
}

/// The library.
pub(super) fn library(lua: &Lua, budget: Rc<Budget>) -> mlua::Result<Table> {
    let os = lua.create_table()?;
    let (told, dated, begun) = (budget.clone(), budget.clone(), budget);
    let time = move |_: &Lua, table: Option<Table>| match table {
        None => Ok(seconds(&told)),
        Some(table) => time_of(&table),
    };
    os.raw_set("time", lua.create_function(time)?)?;
    let date = move |lua: &Lua, (format, at): (Option<String>, Option<f64>)| {
        #[expect(clippy::cast_possible_truncation, reason = "saturates; jiff refuses what is out of range")]
        let at = at.map_or_else(|| seconds(&dated), |at| at as i64);
        date_of(lua, format.as_deref().unwrap_or("%c"), at)
    };
    os.raw_set("date", lua.create_function(date)?)?;
    let clock = move |_: &Lua, (): ()| Ok((begun.clock)().saturating_sub(begun.begun).as_secs_f64());
    os.raw_set("clock", lua.create_function(clock)?)?;
    Ok(os)
}

/// Seconds of `{year, month, day, hour, min, sec}`; fields out of range carry over.
fn time_of(table: &Table) -> mlua::Result<i64> {
    let field = |name: &str, or: Option<i64>| -> mlua::Result<i64> {
        let found: Option<f64> = table.raw_get(name)?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates; jiff refuses what is out of range")]
        let found = found.map(|number| number as i64);
        found.or(or).ok_or_else(|| wrong(format!("os.time: field '{name}' is missing")))
    };
    let year = i16::try_from(field("year", None)?).map_err(wrong)?;
    let first = DateTime::new(year, 1, 1, 0, 0, 0, 0).map_err(wrong)?;
    let span = Span::new()
        .try_months(field("month", None)? - 1)
        .and_then(|span| span.try_days(field("day", None).unwrap_or(1) - 1))
        .and_then(|span| span.try_hours(field("hour", Some(12)).unwrap_or_default()))
        .and_then(|span| span.try_minutes(field("min", Some(0)).unwrap_or_default()))
        .and_then(|span| span.try_seconds(field("sec", Some(0)).unwrap_or_default()))
        .map_err(wrong)?;
    field("day", None)?;
    let at = first.checked_add(span).and_then(|at| at.to_zoned(TimeZone::UTC)).map_err(wrong)?;
    Ok(at.timestamp().as_second())
}

fn date_of(lua: &Lua, format: &str, at: i64) -> mlua::Result<LuaValue> {
    let at: Zoned = Timestamp::from_second(at).map_err(wrong)?.to_zoned(TimeZone::UTC);
    let format = format.trim_start_matches('!');
    if format.starts_with("*t") {
        let table = lua.create_table()?;
        let fields: [(&str, i64); 8] = [
            ("year", at.year().into()),
            ("month", at.month().into()),
            ("day", at.day().into()),
            ("hour", at.hour().into()),
            ("min", at.minute().into()),
            ("sec", at.second().into()),
            ("wday", (at.weekday().to_sunday_zero_offset() + 1).into()),
            ("yday", at.day_of_year().into()),
        ];
        for (name, value) in fields {
            table.raw_set(name, value)?;
        }
        table.raw_set("isdst", false)?;
        return Ok(LuaValue::Table(table));
    }
    // `%c` as Argo CD prints it.
    let format = format.replace("%c", "%d %b %y %H:%M UTC");
    let text = jiff::fmt::strtime::format(&format, &at).map_err(wrong)?;
    Ok(LuaValue::String(lua.create_string(text)?))
}

/// `math.random` from a seed of this run; `math.randomseed` changes this run only.
pub(super) fn install_random(lua: &Lua, budget: &Budget) -> mlua::Result<()> {
    let state = Rc::new(Cell::new(u64::from((budget.clock)().subsec_nanos()) ^ 0x9E37_79B9_7F4A_7C15));
    let math: Table = lua.globals().raw_get("math")?;
    let seeded = state.clone();
    let seed = move |_: &Lua, seed: f64| {
        seeded.set(seed.to_bits() | 1);
        Ok(())
    };
    math.raw_set("randomseed", lua.create_function(seed)?)?;
    let random = move |_: &Lua, (low, high): (Option<f64>, Option<f64>)| {
        // xorshift64*: even enough for a name or a delay, which is all that it is for.
        let mut bits = state.get();
        bits ^= bits >> 12;
        bits ^= bits << 25;
        bits ^= bits >> 27;
        state.set(bits);
        let part = f64::from(u32::try_from(bits.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap_or_default());
        let part = part / (f64::from(u32::MAX) + 1.0);
        match (low, high) {
            (None, _) => Ok(part),
            (Some(high), None) if high >= 1.0 => Ok((part * high).floor() + 1.0),
            (Some(low), Some(high)) if low <= high => Ok((part * (high - low + 1.0)).floor() + low),
            _ => Err(wrong("math.random: the interval is empty")),
        }
    };
    math.raw_set("random", lua.create_function(random)?)
}
