//! JSON to Lua and back. Null is nil, so a key with null is no key; a number is a double; an empty table is an empty
//! array, which [`repair`] mends by the object that the table came from.
use mlua::{Lua, Value as LuaValue};
use serde_json::{Map, Number, Value};

/// Nesting of a value; a table that holds itself is deeper than any.
const DEPTH_MAX: usize = 100;
/// Size of what comes back, counted in bytes of text and eight for each value: more than Kubernetes stores.
const SIZE_MAX: usize = 8 * 1024 * 1024;
/// The whole numbers that a double tells apart.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// As Lua sees it.
pub(super) fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(yes) => LuaValue::Boolean(*yes),
        Value::Number(number) => LuaValue::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => LuaValue::String(lua.create_string(text)?),
        Value::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(to_lua(lua, item)?)?;
            }
            LuaValue::Table(table)
        }
        Value::Object(fields) => {
            let table = lua.create_table_with_capacity(0, fields.len())?;
            for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
                table.raw_set(name.as_str(), to_lua(lua, field)?)?;
            }
            LuaValue::Table(table)
        }
    })
}

/// As JSON.
pub(super) fn from_lua(value: &LuaValue) -> Result<Value, String> {
    let mut left = SIZE_MAX;
    of(value, 0, &mut left)
}

fn of(value: &LuaValue, depth: usize, left: &mut usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("the script's answer is nested more than {DEPTH_MAX} deep; does a table hold itself?"));
    }
    spend(left, 8)?;
    match value {
        LuaValue::Nil => Ok(Value::Null),
        LuaValue::Boolean(yes) => Ok(Value::Bool(*yes)),
        LuaValue::Integer(number) => Ok(Value::from(*number)),
        LuaValue::Number(number) => number_of(*number),
        LuaValue::String(text) => {
            let text = text.to_string_lossy();
            spend(left, text.len())?;
            Ok(Value::String(text))
        }
        LuaValue::Table(table) => table_of(table, depth, left),
        other => Err(format!("the script's answer holds a {}, which is no JSON", other.type_name())),
    }
}

fn spend(left: &mut usize, size: usize) -> Result<(), String> {
    *left = left
        .checked_sub(size)
        .ok_or_else(|| format!("the script's answer is larger than {} MiB", SIZE_MAX / 1024 / 1024))?;
    Ok(())
}

fn number_of(number: f64) -> Result<Value, String> {
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        // In range by the line above.
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within 2^53")]
        return Ok(Value::from(number as i64));
    }
    Number::from_f64(number)
        .map(Value::Number)
        .ok_or_else(|| format!("the script's answer holds the number {number}, which is no JSON"))
}

fn table_of(table: &mlua::Table, depth: usize, left: &mut usize) -> Result<Value, String> {
    let mut fields = Map::new();
    let mut items: Vec<(f64, Value)> = Vec::new();
    for pair in table.pairs::<LuaValue, LuaValue>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let value = of(&value, depth + 1, left)?;
        match key {
            LuaValue::String(name) => {
                let name = name.to_string_lossy();
                spend(left, name.len())?;
                fields.insert(name, value);
            }
            LuaValue::Number(at) => items.push((at, value)),
            #[expect(clippy::cast_precision_loss, reason = "an index of a table in memory")]
            LuaValue::Integer(at) => items.push((at as f64, value)),
            other => return Err(format!("the script's answer has a {} as a key, which is no JSON", other.type_name())),
        }
    }
    if !fields.is_empty() {
        return match items.first() {
            None => Ok(Value::Object(fields)),
            Some((at, _)) => {
                Err(format!("the script's answer mixes names and numbers as keys of one table (key {at})"))
            }
        };
    }
    items.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut wanted = 1.0;
    for (at, _) in &items {
        if *at != wanted {
            return Err(format!("the script's answer has a list without a number {wanted}"));
        }
        wanted += 1.0;
    }
    Ok(Value::Array(items.into_iter().map(|(_, value)| value).collect()))
}

/// Mends what a way through Lua does to an object: `{}` that became `[]`, nulls that went away, whole numbers too large
/// for a double.
pub(crate) fn repair(changed: &mut Value, original: &Value) {
    match (changed, original) {
        (Value::Object(new), Value::Object(old)) => {
            for (name, before) in old {
                match new.get_mut(name) {
                    Some(after) => repair(after, before),
                    None if before.is_null() => {
                        new.insert(name.clone(), Value::Null);
                    }
                    None => {}
                }
            }
        }
        (Value::Array(new), Value::Array(old)) => {
            for (after, before) in new.iter_mut().zip(old) {
                repair(after, before);
            }
        }
        (after @ Value::Array(_), Value::Object(_)) if after.as_array().is_some_and(Vec::is_empty) => {
            *after = Value::Object(Map::new());
        }
        (Value::Number(after), Value::Number(before)) if after.as_f64() == before.as_f64() => *after = before.clone(),
        _ => {}
    }
}
