//! Runs one Lua script on one object within bounds: the sandbox of health checks and resource actions (Argo CD,
//! operator manual, "Resource Health" and "Resource Actions"). Lua 5.1, as there. Pure: the time is told by the
//! caller, and a script can reach nothing but its own globals. Knows nothing of health or actions.
//!
//! Each run has a virtual machine of its own (docs/adr/0008), so nothing that a script leaves behind meets
//! the next object. It ends after a number of instructions or a span of time, whichever is first; `pcall` does not
//! stop that. Functions of C that one call could hang in (patterns, `string.rep`, sorting without an order) are our
//! own or run through Lua, where the hook sees them.
use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use mlua::{HookTriggers, Lua, LuaOptions, MultiValue, StdLib, VmState};
use serde_json::Value;

mod clock;
mod convert;
mod pattern;
mod strings;

pub(crate) use convert::repair;

/// Tells the time: how long ago 1970 began. The engine has no clock of its own; callers bring theirs.
pub type Clock = fn() -> Duration;

/// Memory of one run: an object of the largest size that Kubernetes stores, some ten times over.
const MEMORY_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Instructions of one run; a health check needs some hundreds.
const INSTRUCTIONS_MAX: u64 = 10_000_000;
/// Time of one run (Argo CD's limit).
const TIME_MAX: Duration = Duration::from_secs(1);
/// Instructions between two looks at what is left. Small, because one instruction may copy megabytes.
const LOOK_EVERY: u32 = 100;
/// Length of a script.
const SCRIPT_BYTES_MAX: usize = 256 * 1024;
/// Longest message of a script's error that is passed on.
const WORDS_MAX: usize = 1_000;

/// Functions of C that call back or loop for long, led through Lua, where the hook counts.
const PRELUDE: &str = "
local passed = ...
local pcall, sort, insert, error, select, tonumber = pcall, table.sort, table.insert, error, select, tonumber
local function rising(a, b) return a < b end
local function handled(handler, ok, ...)
  if ok then return ok, ... end
  return false, handler(...)
end
function try(...) return passed(pcall(...)) end
-- Lua runs the handler inside of the hook that raised the error, where no hook runs: here it comes after.
function try_with(f, handler) return handled(handler, passed(pcall(f))) end
function table.sort(list, order) return sort(list, order or rising) end
function table.insert(list, ...)
  if select('#', ...) > 1 and (tonumber((...)) or 1) < 1 then error('table.insert: the position is less than 1', 2) end
  return insert(list, ...)
end
_G.pcall, _G.xpcall, _G.try, _G.try_with = try, try_with, nil, nil
";

/// What one run may still use.
pub(super) struct Budget {
    left: Cell<u64>,
    over: Cell<bool>,
    begun: Duration,
    clock: Clock,
}

impl Budget {
    fn new(clock: Clock) -> Self {
        Self { left: Cell::new(INSTRUCTIONS_MAX), over: Cell::new(false), begun: clock(), clock }
    }

    /// Counts work; an error when it is too much, now and ever after.
    pub(super) fn spend(&self, instructions: u64) -> Result<(), String> {
        self.left.set(self.left.get().saturating_sub(instructions));
        if self.left.get() == 0 || (self.clock)().saturating_sub(self.begun) > TIME_MAX {
            self.over.set(true);
        }
        if self.over.get() { Err(too_long()) } else { Ok(()) }
    }
}

fn too_long() -> String {
    format!(
        "the script did not end within {INSTRUCTIONS_MAX} instructions and {} s; look for a loop that never ends",
        TIME_MAX.as_secs()
    )
}

/// A script that is known to be Lua.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    text: String,
    name: &'static str,
    open: bool,
}

impl Script {
    /// Checks the text. `name` stands before lines in errors (`health.lua`); `open` gives it `string` and `math`.
    pub(crate) fn compile(name: &'static str, text: &str, open: bool) -> Result<Self, String> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(format!("the script has {} bytes; at most {SCRIPT_BYTES_MAX} are run", text.len()));
        }
        let script = Self { text: text.to_owned(), name, open };
        let lua = Lua::new_with(StdLib::NONE, LuaOptions::default()).map_err(|error| words(&error))?;
        script.load(&lua).map_err(|error| words(&error))?;
        Ok(script)
    }

    fn load(&self, lua: &Lua) -> mlua::Result<mlua::Function> {
        // Text only: bytecode is not checked by Lua 5.1 and can break out of the machine.
        let chunk = lua.load(self.text.as_str()).set_name(format!("={}", self.name));
        chunk.set_mode(mlua::chunk::ChunkMode::Text).into_function()
    }

    /// Runs it with these globals; answers what it returns, null for nil. An empty table is an empty array.
    pub(crate) fn run(&self, globals: &[(&str, &Value)], clock: Clock) -> Result<Value, String> {
        let budget = Rc::new(Budget::new(clock));
        let run = || -> mlua::Result<Value> {
            let lua = machine(self.open, &budget)?;
            for (name, value) in globals {
                lua.globals().raw_set(*name, convert::to_lua(&lua, value)?)?;
            }
            let answer: mlua::Value = self.load(&lua)?.call(())?;
            convert::from_lua(&answer).map_err(mlua::Error::RuntimeError)
        };
        match run() {
            _ if budget.over.get() => Err(too_long()),
            answer => answer.map_err(|error| words(&error)),
        }
    }
}

/// A fresh virtual machine with what a script may use.
fn machine(open: bool, budget: &Rc<Budget>) -> mlua::Result<Lua> {
    let libs = if open { StdLib::TABLE | StdLib::STRING | StdLib::MATH } else { StdLib::TABLE };
    let lua = Lua::new_with(libs, LuaOptions::default())?;
    lua.set_memory_limit(MEMORY_BYTES_MAX)?;
    let counted = budget.clone();
    lua.set_hook(HookTriggers::new().every_nth_instruction(LOOK_EVERY), move |_, _| {
        counted.spend(LOOK_EVERY.into()).map(|()| VmState::Continue).map_err(mlua::Error::RuntimeError)
    })?;
    let globals = lua.globals();
    // What reaches files, code, other environments or the collector; coroutines, which run without our hook.
    for name in [
        "coroutine",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "module",
        "package",
        "getfenv",
        "setfenv",
        "newproxy",
        "collectgarbage",
        "gcinfo",
        "debug",
        "io",
    ] {
        globals.raw_set(name, mlua::Nil)?;
    }
    let over = budget.clone();
    let passed = lua.create_function(move |_, answers: MultiValue| match over.over.get() {
        true => Err(mlua::Error::RuntimeError(too_long())),
        false => Ok(answers),
    })?;
    lua.load(PRELUDE).set_name("=prelude").call::<()>(passed)?;
    globals.raw_set("print", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    let os = clock::library(&lua, budget.clone())?;
    globals.raw_set("os", os.clone())?;
    // Argo CD's own actions begin with `require("os")`; nothing else can be had this way.
    let require = move |_: &Lua, name: String| match name.as_str() {
        "os" => Ok(os.clone()),
        other => Err(mlua::Error::RuntimeError(format!("module {other:?} cannot be loaded here"))),
    };
    globals.raw_set("require", lua.create_function(require)?)?;
    if open {
        strings::install(&lua, budget)?;
        clock::install_random(&lua, budget)?;
    }
    Ok(lua)
}

/// What went wrong, on one line and without the machinery around it.
fn words(error: &mlua::Error) -> String {
    let mut text = String::new();
    match error {
        mlua::Error::CallbackError { cause, .. } => return words(cause),
        mlua::Error::RuntimeError(message) | mlua::Error::MemoryError(message) => text.push_str(message),
        mlua::Error::SyntaxError { message, .. } => text.push_str(message),
        other => {
            let _ = write!(text, "{other}");
        }
    }
    let text = text.split("\nstack traceback:").next().unwrap_or_default().trim();
    text.chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests;
