//! `jqPathExpressions`: which paths of an object an expression names. Pure, and bounded by what it takes: only
//! filters that end by themselves and make nothing larger than their input. So no expression can hang or fill
//! the memory of the process, nor read its environment.
use jaq_core::data::JustLut;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::load::{Arena, File, Loader, lex::StrPart};
use jaq_core::path::Part;
use jaq_core::{Compiler, Ctx, Vars, unwrap_valr};
use jaq_json::Val;
use serde_json::Value;

/// Longest expression, in bytes.
const LENGTH_MAX: usize = 2_000;
/// `..` and iterations in one expression: each multiplies the work by the size of the object.
const GENERATORS_MAX: usize = 8;
const RECURSIONS_MAX: usize = 2;
/// Paths that an expression may name in one object.
const PATHS_MAX: usize = 10_000;

/// Filters that may be called, besides operators.
const ALLOWED: [&str; 46] = [
    "all",
    "any",
    "arrays",
    "ascii_downcase",
    "ascii_upcase",
    "booleans",
    "contains",
    "empty",
    "endswith",
    "error",
    "explode",
    "false",
    "first",
    "getpath",
    "has",
    "in",
    "index",
    "inside",
    "iterables",
    "keys",
    "last",
    "length",
    "ltrimstr",
    "map",
    "map_values",
    "not",
    "null",
    "nulls",
    "numbers",
    "objects",
    "path",
    "paths",
    "rtrimstr",
    "scalars",
    "select",
    "split",
    "startswith",
    "strings",
    "test",
    "to_entries",
    "tonumber",
    "tostring",
    "true",
    "type",
    "values",
    "with_entries",
];

#[derive(Default)]
struct Cost {
    generators: usize,
    recursions: usize,
}

/// Refuses what is no path expression, or could run for long.
pub(super) fn check(expression: &str) -> Result<(), String> {
    let say = |what: &str| format!("jqPathExpressions: {expression:?}: {what}");
    if expression.len() > LENGTH_MAX {
        return Err(format!(
            "jqPathExpressions: an expression of {} bytes; {LENGTH_MAX} are allowed",
            expression.len()
        ));
    }
    let term = jaq_core::load::parse(expression, |parser| parser.term())
        .ok_or_else(|| say("is not valid jq; see https://jqlang.org/manual"))?;
    let mut cost = Cost::default();
    walk(&term, &mut cost).map_err(|what| say(&what))?;
    if cost.generators > GENERATORS_MAX || cost.recursions > RECURSIONS_MAX {
        return Err(say("iterates too often; name the fields more closely"));
    }
    compile(expression, |_| Ok(())).map_err(|what| say(&what))
}

fn walk(term: &Term<&str>, cost: &mut Cost) -> Result<(), String> {
    let refused = |what: &str| Err(format!("{what} may not be used in a path expression"));
    match term {
        Term::Id | Term::Num(_) | Term::Var(_) => Ok(()),
        Term::Recurse => {
            cost.recursions += 1;
            Ok(())
        }
        Term::Str(_, parts) => parts.iter().try_for_each(|part| match part {
            StrPart::Term(term) => walk(term, cost),
            StrPart::Str(_) | StrPart::Char(_) => Ok(()),
        }),
        Term::Arr(inner) => inner.iter().try_for_each(|inner| walk(inner, cost)),
        Term::Obj(pairs) => pairs.iter().try_for_each(|(key, value)| {
            walk(key, cost)?;
            value.iter().try_for_each(|value| walk(value, cost))
        }),
        Term::Neg(inner) => walk(inner, cost),
        Term::BinOp(left, operator, right) => {
            match operator {
                BinaryOp::Pipe(None)
                | BinaryOp::Pipe(Some(jaq_core::load::parse::Pattern::Var(_)))
                | BinaryOp::Comma
                | BinaryOp::Alt
                | BinaryOp::Or
                | BinaryOp::And
                | BinaryOp::Cmp(_) => {}
                BinaryOp::Pipe(Some(_)) => return refused("a pattern"),
                BinaryOp::Math(_) => return refused("arithmetic"),
                _ => return refused("an assignment"),
            }
            walk(left, cost)?;
            walk(right, cost)
        }
        Term::TryCatch(inner, catch) => {
            walk(inner, cost)?;
            catch.iter().try_for_each(|catch| walk(catch, cost))
        }
        Term::IfThenElse(branches, otherwise) => {
            for (condition, then) in branches {
                walk(condition, cost)?;
                walk(then, cost)?;
            }
            otherwise.iter().try_for_each(|otherwise| walk(otherwise, cost))
        }
        Term::Call(name, arguments) => {
            if *name == "recurse" && arguments.is_empty() {
                cost.recursions += 1;
                return Ok(());
            }
            if !ALLOWED.contains(name) {
                return refused(name);
            }
            cost.generators +=
                usize::from(matches!(*name, "map" | "map_values" | "with_entries" | "any" | "all" | "paths"));
            arguments.iter().try_for_each(|argument| walk(argument, cost))
        }
        Term::Path(head, path) => {
            walk(head, cost)?;
            path.0.iter().try_for_each(|(part, _)| match part {
                Part::Index(index) => walk(index, cost),
                Part::Range(from, to) => {
                    cost.generators += 1;
                    from.iter().chain(to).try_for_each(|bound| walk(bound, cost))
                }
            })
        }
        Term::Def(..) => refused("def"),
        Term::Fold(..) => refused("reduce or foreach"),
        Term::Label(..) | Term::Break(_) => refused("label"),
    }
}

/// Compiles `path(expression)` and hands over the way to run it.
fn compile<T>(
    expression: &str,
    then: impl FnOnce(&dyn Fn(Val) -> Result<Vec<Val>, String>) -> Result<T, String>,
) -> Result<T, String> {
    const OUTSIDE: [&str; 2] = ["env", "input"];
    let arena = Arena::default();
    let loader = Loader::new(jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()));
    let code = format!("path({expression})");
    let modules =
        loader.load(&arena, File { code: code.as_str(), path: () }).map_err(|_| "is not valid jq".to_owned())?;
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let funs = funs.filter(|(name, ..)| !OUTSIDE.contains(name));
    let filter = Compiler::default().with_funs(funs).compile(modules).map_err(|errors| {
        let names: Vec<String> = errors.into_iter().flat_map(|(_, all)| all).map(|(name, _)| name.to_owned()).collect();
        format!("knows no {}", names.join(", "))
    })?;
    then(&|input| {
        let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
        let mut paths = Vec::new();
        for found in filter.id.run((context, input)).map(unwrap_valr) {
            match found {
                Ok(path) => paths.push(path),
                // An expression that fails names nothing at all (Argo CD ignores such a rule, too).
                Err(_) => return Ok(Vec::new()),
            }
            if paths.len() > PATHS_MAX {
                return Err(format!("names more than {PATHS_MAX} paths"));
            }
        }
        Ok(paths)
    })
}

/// The fields that an expression names one below the other, `.metadata.annotations."a/b"`; `None` for all others.
pub(super) fn plain(expression: &str) -> Option<Vec<String>> {
    let Term::Path(head, path) = jaq_core::load::parse(expression, |parser| parser.term())? else { return None };
    let field = |(part, _): &(Part<Term<&str>>, jaq_core::path::Opt)| match part {
        Part::Index(Term::Str(None, text)) => match text.as_slice() {
            [StrPart::Str(name)] => Some((*name).to_owned()),
            _ => None,
        },
        _ => None,
    };
    if !matches!(*head, Term::Id) {
        return None;
    }
    path.0.iter().map(field).collect()
}

/// The paths that the expression names in the object.
pub(super) fn paths(expression: &str, object: &Value) -> Result<Vec<Vec<Value>>, String> {
    if let Some(fields) = plain(expression) {
        let parents = fields.len().saturating_sub(1);
        let there = fields.iter().take(parents).try_fold(object, |here, field| here.get(field));
        let named = there.is_some_and(|parent| parent.is_object() || parent.is_null());
        return Ok(named.then(|| fields.into_iter().map(Value::from).collect()).into_iter().collect());
    }
    let say = |what: String| format!("jqPathExpressions: {expression:?}: {what}");
    let input: Val = serde_json::from_value(object.clone()).map_err(|error| say(error.to_string()))?;
    let found = compile(expression, |run| run(input)).map_err(say)?;
    found
        .into_iter()
        .map(|path| serde_json::from_str(&path.to_string()).map_err(|error| say(error.to_string())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_name_paths() {
        let object =
            json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}], "replicas": 1}});
        let cases = [
            (".spec.replicas", json!([["spec", "replicas"]])),
            (
                ".spec.containers[].image",
                json!([["spec", "containers", 0, "image"], ["spec", "containers", 1, "image"]]),
            ),
            (".spec.containers[] | select(.name == \"b\")", json!([["spec", "containers", 1]])),
            (
                ".spec.containers[] | select(.image | test(\"^x\")) | .image",
                json!([["spec", "containers", 0, "image"]]),
            ),
            (".status.nothing[]?", json!([])),
            (".spec.replicas[]", json!([])),
        ];
        for (expression, want) in cases {
            assert_eq!(check(expression), Ok(()), "{expression}");
            assert_eq!(json!(paths(expression, &object).unwrap()), want, "{expression}");
        }
    }

    #[test]
    fn plain_fields_need_no_jq() {
        for (expression, want) in [
            (".a", Some(vec!["a"])),
            (".metadata.annotations.\"x.io/y\"", Some(vec!["metadata", "annotations", "x.io/y"])),
            (".metadata[\"annotations\"]", Some(vec!["metadata", "annotations"])),
            (".a[0]", None),
            (".a[]", None),
            (".a | .b", None),
            (".\"a\\(.b)\"", None),
        ] {
            let want = want.map(|fields| fields.into_iter().map(str::to_owned).collect());
            assert_eq!(plain(expression), want, "{expression}");
        }
    }

    #[test]
    fn what_could_hang_or_spy_is_refused() {
        for expression in [
            "repeat(.)",
            "range(1e12)",
            "def f: f; f",
            "env",
            "$ENV.HOME",
            "input",
            "until(false; .)",
            "limit(1; .a)",
            "recurse(.a)",
            "[.,.] | [.,.] * 1000000",
            ".a = 1",
            ".. | .. | ..",
            "reduce .[] as $x (.; [.,.])",
            ".a)",
            "(",
            ".[][][][][][][][][]",
            ". as [$a] | $a",
            "label $x | break $x",
            "now",
            "halt",
        ] {
            assert!(check(expression).is_err(), "{expression}");
        }
        assert!(check(&".a".repeat(2_000)).is_err());
    }
}
