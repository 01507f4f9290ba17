use serde_json::json;

use super::*;

/// 2026-11-24T20:30:05Z.
fn noon() -> Duration {
    Duration::from_secs(1_795_552_205)
}

fn run(text: &str, open: bool, object: &Value) -> Result<Value, String> {
    Script::compile("health.lua", text, open)?.run(&[("obj", object)], noon)
}

fn ok(text: &str) -> Value {
    run(text, true, &json!({})).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_scripts_do_to_objects() {
    let object = json!({"spec": {"replicas": 3, "ratio": 0.5, "none": null, "list": [1, 2], "empty": {}, "on": true}});
    for (text, want) in [
        ("return obj.spec.replicas", json!(3)),
        ("return obj.spec.ratio", json!(0.5)),
        ("return obj.spec.none == nil", json!(true)),
        ("return obj.spec.absent ~= nil", json!(false)),
        ("return #obj.spec.list", json!(2)),
        ("return obj.spec.empty", json!([])),
        ("return 'n=' .. obj.spec.replicas .. ' ' .. 10 / 4", json!("n=3 2.5")),
        ("return tostring(2^53)", json!("9.007199254741e+15")),
        ("return {status = 'Healthy', n = 4 / 2}", json!({"status": "Healthy", "n": 2})),
        ("return {1, 2, {a = {}}}", json!([1, 2, {"a": []}])),
        ("local t = {}; for i, v in ipairs(obj.spec.list) do t[i] = v * 2 end; return t", json!([2, 4])),
        ("local t = {3, 1, 2}; table.sort(t); table.insert(t, 1, 0); return table.concat(t, ',')", json!("0,1,2,3")),
        ("return select('#', pcall(error, 'x'))", json!(2)),
        ("local ok, what = pcall(function() error({code = 7}) end); return what.code", json!(7)),
        (
            "local ok, what = xpcall(function() error('x', 0) end, function(e) return e .. '!' end); return what",
            json!("x!"),
        ),
        ("return select(2, xpcall(function() return 7 end, print))", json!(7)),
        ("return", Value::Null),
        ("", Value::Null),
        ("return os.time()", json!(1_795_552_205)),
        ("return os.date('!%Y%m%d%H%M')", json!("202611242030")),
        ("local os = require('os'); return os.date('!%Y-%m-%dT%XZ')", json!("2026-11-24T20:30:05Z")),
        ("return os.time({year = 2026, month = 13, day = 1, hour = 0})", json!(1_798_761_600)),
        ("return os.date('*t', 0).year", json!(1970)),
        ("return os.clock() >= 0", json!(true)),
    ] {
        assert_eq!(run(text, false, &object), Ok(want), "{text}");
    }
}

#[test]
fn strings_work_as_in_lua() {
    for (text, want) in [
        ("return ('a,b,c'):find(',')", json!(2)),
        ("return ('a.b'):find('.', 1, true)", json!(2)),
        ("return ('abc'):find('b', -2)", json!(2)),
        ("return ('key=val'):match('=(.*)')", json!("val")),
        ("return ('key=val'):match('%w+')", json!("key")),
        ("return select(2, ('key=val'):match('(%w+)=(%w+)'))", json!("val")),
        ("return ('abc'):match('()b')", json!(2)),
        ("return (('hello world'):gsub('o', '0'))", json!("hell0 w0rld")),
        ("return select(2, ('hello world'):gsub('o', '0'))", json!(2)),
        ("return (('hello'):gsub('(l)(l)', '%2-%1%%%0'))", json!("hel-l%llo")),
        ("return (('abc'):gsub('', '-'))", json!("-a-b-c-")),
        ("return (('abc'):gsub('%w', {a = 'x', b = false}))", json!("xbc")),
        ("return (('abc'):gsub('%w', string.upper, 2))", json!("ABc")),
        ("return (('  x '):gsub('^%s+', ''))", json!("x ")),
        ("local n = 0; for w in ('one two'):gmatch('%a+') do n = n + #w end; return n", json!(6)),
        ("return ('ab'):rep(3)", json!("ababab")),
        ("return ('x'):rep(-1)", json!("")),
        ("return string.format('%d of %s %5.1f', 3, 'x', 2.25)", json!("3 of x   2.2")),
        ("return ('Ready'):lower() .. ('x'):byte()", json!("ready120")),
        ("return math.floor(2.7) + math.max(1, 2)", json!(4)),
        ("local r = math.random(1, 6); return r >= 1 and r <= 6 and r == math.floor(r)", json!(true)),
    ] {
        assert_eq!(ok(text), want, "{text}");
    }
}

#[test]
fn nothing_outside_is_within_reach() {
    for name in [
        "io",
        "package",
        "debug",
        "coroutine",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "getfenv",
        "setfenv",
        "newproxy",
        "collectgarbage",
        "os.execute",
        "os.getenv",
        "os.exit",
        "os.remove",
        "string.dump",
    ] {
        assert_eq!(ok(&format!("return {name} == nil")), json!(true), "{name}");
    }
    for name in ["string", "math", "io", "coroutine"] {
        assert_eq!(run(&format!("return {name} == nil"), false, &json!({})), Ok(json!(true)), "{name}");
    }
    let refused = run("return require('io')", true, &json!({})).unwrap_err();
    assert!(refused.contains("\"io\" cannot be loaded here"), "{refused}");
    assert!(Script::compile("x", "\u{1b}Lua", false).is_err());
}

#[test]
fn nasty_scripts_end() {
    let long = "did not end within";
    let memory = "not enough memory";
    for (text, want) in [
        ("while true do end", long),
        ("local function f() return f() end return f()", long),
        ("while true do pcall(function() while true do end end) end", long),
        ("local function f() while true do pcall(f) end end f()", long),
        ("while true do xpcall(function() while true do end end, function() while true do end end) end", long),
        ("error(setmetatable({}, {__tostring = function() while true do end end}))", long),
        ("pcall(error, setmetatable({}, {__tostring = function() while true do end end})) while true do end", long),
        ("pcall(function() while true do end end) return {status = 'Healthy'}", long),
        ("local t = {}; for i = 1, 1e9 do t[i] = i end", memory),
        ("local s = 'x'; while true do s = s .. s end", memory),
        ("return ('x'):rep(1e9)", "resulting string too large"),
        ("return (''):rep(1e18)", ""),
        ("local s = ('a'):rep(5e6); return s:gsub('a', s)", "resulting string too large"),
        ("return ('a'):rep(3000):find(('.-'):rep(20) .. 'b')", long),
        ("return ('('):rep(300000):gsub('%b()', '')", long),
        ("local t = {}; t.t = t; return t", "nested more than"),
        ("local t = {'x'}; for i = 1, 24 do t = {t, t} end; return t", "larger than"),
        ("local function f() return 1 + f() end return f()", "stack overflow"),
        ("local t = {1}; table.insert(t, -2^31, 1)", "less than 1"),
        ("return setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}).a", "stack overflow"),
        ("return {[1] = 1, [3] = 3}", "without a number 2"),
        ("return {1, a = 2}", "mixes names and numbers"),
        ("return {f = print}", "holds a function"),
        ("return {n = 0 / 0}", "no JSON"),
    ] {
        let before = std::time::Instant::now();
        match run(text, true, &json!({})) {
            Ok(answer) => assert!(want.is_empty(), "{text}: {answer}"),
            Err(error) => assert!(!want.is_empty() && error.contains(want), "{text}: {error}"),
        }
        assert!(before.elapsed() < Duration::from_secs(20), "{text}: {:?}", before.elapsed());
    }
}

#[test]
fn nothing_is_left_for_the_next_object() {
    let spoil = "seen = 1; _G.obj = nil; string.find = nil; table.insert = nil; os.time = nil
        getmetatable('').__index = {upper = function() return 'spoilt' end}
        math.floor = function() return 7 end
        return ('x'):upper()";
    let script = Script::compile("health.lua", spoil, true).unwrap();
    assert_eq!(script.run(&[], noon), Ok(json!("spoilt")));
    let look = "return {seen == nil, obj.a, ('x'):upper(), ('ab'):find('b'), math.floor(1.5), os.time() > 0}";
    assert_eq!(run(look, true, &json!({"a": 1})), Ok(json!([true, 1, "X", 2, 1, true])));
}

#[test]
fn errors_say_where() {
    let error = run("local x = obj.status\nreturn x.phase", false, &json!({})).unwrap_err();
    assert!(error.starts_with("health.lua:2: attempt to index") && !error.contains("traceback"), "{error}");
    let error = Script::compile("health.lua", "return {", false).unwrap_err();
    assert!(error.starts_with("health.lua:1:"), "{error}");
    assert!(run("error('plain words')", false, &json!({})).unwrap_err().contains("plain words"));
}

#[test]
fn the_time_is_limited_too() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    fn running() -> Duration {
        Duration::from_millis(LOOKS.fetch_add(1, Ordering::Relaxed))
    }
    let script = Script::compile("health.lua", "for i = 1, 1e6 do end return 1", false).unwrap();
    assert!(script.run(&[], running).unwrap_err().contains("did not end within"));
}

#[test]
fn a_way_through_lua_is_mended() {
    let original = json!({"a": {}, "b": [], "c": null, "n": 9_007_199_254_740_993_i64, "full": {"x": 1}, "deep": [{"e": {}}], "same": [1]});
    let mut changed = json!({"a": [], "b": [], "n": 9_007_199_254_740_992_i64, "full": [], "deep": [{"e": []}, {"e": []}], "same": []});
    repair(&mut changed, &original);
    let want = json!({"a": {}, "b": [], "c": null, "n": 9_007_199_254_740_993_i64, "full": {}, "deep": [{"e": {}}, {"e": []}], "same": []});
    assert_eq!(changed, want);
}
