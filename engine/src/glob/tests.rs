//! The tables are the answers of gobwas/glob v1.0.0 and of Go 1.26's `path.Match` to these questions.
use super::*;

const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "a/b",
    "abc",
    "a.b",
    "x",
    "dx",
    "bdx",
    "ax",
    "*",
    "]",
    "}",
    "a}",
    "a,b",
    "https://github.com/x",
    "https://github.com/x/y",
    "!a",
    "!",
    "^",
    "a/b/c",
    "0",
    "10",
    "b/c",
    "-",
    "ns-1",
    "eu-prod-1",
    "éa",
    "cx",
];

type Matched = Option<&'static [&'static str]>;

/// Pattern, separators, what of the texts matches; nothing where it does not compile.
#[rustfmt::skip]
const GLOBS: &[(&str, &str, Matched)] = &[
    ("", "", Some(&[""])),
    ("a", "", Some(&["a"])),
    ("a*", "", Some(&["a", "ab", "a/b", "abc", "a.b", "ax", "a}", "a,b", "a/b/c"])),
    ("*a", "", Some(&["a", "!a", "éa"])),
    ("a*b", "", Some(&["ab", "a/b", "a.b", "a,b"])),
    ("a**b", "", Some(&["ab", "a/b", "a.b", "a,b"])),
    ("?", "", Some(&["a", "b", "x", "*", "]", "}", "!", "^", "0", "-"])),
    ("a?c", "", Some(&["abc"])),
    ("[a-c]", "", Some(&["a", "b"])),
    ("[!a-c]x", "", Some(&["dx"])),
    ("[abc]", "", Some(&["a", "b"])),
    ("[!abc]", "", Some(&["x", "*", "]", "}", "!", "^", "0", "-"])),
    ("{a,b}", "", Some(&["a", "b"])),
    ("{a,b}*", "", Some(&["a", "b", "ab", "a/b", "abc", "a.b", "bdx", "ax", "a}", "a,b", "a/b/c", "b/c"])),
    ("{a*,**/b}", "", Some(&["a", "ab", "a/b", "abc", "a.b", "ax", "a}", "a,b", "a/b/c"])),
    ("{a,{b,c}d}x", "", Some(&["bdx", "ax"])),
    ("\\*", "", Some(&["*"])),
    ("a\\", "", None),
    ("[", "", None),
    ("[]", "", None),
    ("[a", "", None),
    ("[c-a]", "", None),
    ("[a-]", "", None),
    ("[]-a]", "", Some(&["a", "]", "^"])),
    ("{a", "", None),
    ("a}", "", Some(&["a}"])),
    ("a,b", "", Some(&["a,b"])),
    ("{,a}b", "", Some(&["b", "ab"])),
    ("[\\]]", "", Some(&["]"])),
    ("*/*", "", Some(&["a/b", "https://github.com/x", "https://github.com/x/y", "a/b/c", "b/c"])),
    ("https://github.com/*", "", Some(&["https://github.com/x", "https://github.com/x/y"])),
    ("https://github.com/**", "", Some(&["https://github.com/x", "https://github.com/x/y"])),
    ("!a", "", Some(&["!a"])),
    ("[!!]", "", Some(&["a", "b", "x", "*", "]", "}", "^", "0", "-"])),
    ("[^a]", "", Some(&["a", "^"])),
    ("{a/*,b}", "", Some(&["b", "a/b", "a/b/c"])),
    ("{a,b}/?", "", Some(&["a/b", "b/c"])),
    ("a.b", "", Some(&["a.b"])),
    ("[-a]", "", Some(&["a", "-"])),
    ("ns-*", "", Some(&["ns-1"])),
    ("*-prod-?", "", Some(&["eu-prod-1"])),
    ("{}", "", Some(&[""])),
    ("é*", "", Some(&["éa"])),
    ("[a-cx]", "", None),
    ("", "/", Some(&[""])),
    ("a", "/", Some(&["a"])),
    ("*", "/", Some(&["", "a", "b", "ab", "abc", "a.b", "x", "dx", "bdx", "ax", "*", "]", "}", "a}", "a,b", "!a", "!", "^", "0", "10", "-", "ns-1", "eu-prod-1", "éa", "cx"])),
    ("a*", "/", Some(&["a", "ab", "abc", "a.b", "ax", "a}", "a,b"])),
    ("*a", "/", Some(&["a", "!a", "éa"])),
    ("a*b", "/", Some(&["ab", "a.b", "a,b"])),
    ("a**b", "/", Some(&["ab", "a/b", "a.b", "a,b"])),
    ("?", "/", Some(&["a", "b", "x", "*", "]", "}", "!", "^", "0", "-"])),
    ("a?c", "/", Some(&["abc"])),
    ("[a-c]", "/", Some(&["a", "b"])),
    ("[!a-c]x", "/", Some(&["dx"])),
    ("[abc]", "/", Some(&["a", "b"])),
    ("[!abc]", "/", Some(&["x", "*", "]", "}", "!", "^", "0", "-"])),
    ("{a,b}", "/", Some(&["a", "b"])),
    ("{a,b}*", "/", Some(&["a", "b", "ab", "abc", "a.b", "bdx", "ax", "a}", "a,b"])),
    ("{a*,**/b}", "/", Some(&["a", "ab", "a/b", "abc", "a.b", "ax", "a}", "a,b"])),
    ("{a,{b,c}d}x", "/", Some(&["bdx", "ax"])),
    ("\\*", "/", Some(&["*"])),
    ("a\\", "/", None),
    ("[", "/", None),
    ("[]", "/", None),
    ("[a", "/", None),
    ("[c-a]", "/", None),
    ("[a-]", "/", None),
    ("[]-a]", "/", Some(&["a", "]", "^"])),
    ("{a", "/", None),
    ("a}", "/", Some(&["a}"])),
    ("a,b", "/", Some(&["a,b"])),
    ("{,a}b", "/", Some(&["b", "ab"])),
    ("[\\]]", "/", Some(&["]"])),
    ("*/*", "/", Some(&["a/b", "b/c"])),
    ("https://github.com/*", "/", Some(&["https://github.com/x"])),
    ("https://github.com/**", "/", Some(&["https://github.com/x", "https://github.com/x/y"])),
    ("!a", "/", Some(&["!a"])),
    ("[!!]", "/", Some(&["a", "b", "x", "*", "]", "}", "^", "0", "-"])),
    ("[^a]", "/", Some(&["a", "^"])),
    ("{a/*,b}", "/", Some(&["b", "a/b"])),
    ("*{0,}", "/", Some(&["", "a", "b", "ab", "abc", "a.b", "x", "dx", "bdx", "ax", "*", "]", "}", "a}", "a,b", "!a", "!", "^", "0", "10", "-", "ns-1", "eu-prod-1", "éa", "cx"])),
    ("{a,b}/?", "/", Some(&["a/b", "b/c"])),
    ("a.b", "/", Some(&["a.b"])),
    ("[-a]", "/", Some(&["a", "-"])),
    ("ns-*", "/", Some(&["ns-1"])),
    ("*-prod-?", "/", Some(&["eu-prod-1"])),
    ("{}", "/", Some(&[""])),
    ("é*", "/", Some(&["éa"])),
    ("[a-cx]", "/", None),
];

#[rustfmt::skip]
const PATHS: &[(&str, &[&str])] = &[
    ("", &[""]),
    ("a", &["a"]),
    ("*", &["", "a", "b", "ab", "abc", "a.b", "x", "dx", "bdx", "ax", "*", "]", "}", "a}", "a,b", "!a", "!", "^", "0", "10", "-", "ns-1", "eu-prod-1", "éa", "cx"]),
    ("**", &["", "a", "b", "ab", "abc", "a.b", "x", "dx", "bdx", "ax", "*", "]", "}", "a}", "a,b", "!a", "!", "^", "0", "10", "-", "ns-1", "eu-prod-1", "éa", "cx"]),
    ("a*", &["a", "ab", "abc", "a.b", "ax", "a}", "a,b"]),
    ("*a", &["a", "!a", "éa"]),
    ("a*b", &["ab", "a.b", "a,b"]),
    ("a**b", &["ab", "a.b", "a,b"]),
    ("?", &["a", "b", "x", "*", "]", "}", "!", "^", "0", "-"]),
    ("a?c", &["abc"]),
    ("[a-c]", &["a", "b"]),
    ("[!a-c]x", &["ax", "cx"]),
    ("[abc]", &["a", "b"]),
    ("[!abc]", &["a", "b", "!"]),
    ("{a,b}", &[]),
    ("{a,b}*", &[]),
    ("{a*,**/b}", &[]),
    ("{a,{b,c}d}x", &[]),
    ("\\*", &["*"]),
    ("a\\", &[]),
    ("[", &[]),
    ("[]", &[]),
    ("[a", &[]),
    ("[c-a]", &[]),
    ("[a-]", &[]),
    ("[]-a]", &[]),
    ("{a", &[]),
    ("a}", &["a}"]),
    ("a,b", &["a,b"]),
    ("{,a}b", &[]),
    ("[\\]]", &["]"]),
    ("***", &["", "a", "b", "ab", "abc", "a.b", "x", "dx", "bdx", "ax", "*", "]", "}", "a}", "a,b", "!a", "!", "^", "0", "10", "-", "ns-1", "eu-prod-1", "éa", "cx"]),
    ("*/*", &["a/b", "b/c"]),
    ("https://github.com/*", &["https://github.com/x"]),
    ("https://github.com/**", &["https://github.com/x"]),
    ("!a", &["!a"]),
    ("[!!]", &["!"]),
    ("[^a]", &["b", "x", "*", "]", "}", "!", "^", "0", "-"]),
    ("{a/*,b}", &[]),
    ("*{0,}", &[]),
    ("{a,b}/?", &[]),
    ("a.b", &["a.b"]),
    ("[-a]", &[]),
    ("ns-*", &["ns-1"]),
    ("*-prod-?", &["eu-prod-1"]),
    ("{}", &[]),
    ("é*", &["éa"]),
    ("[a-cx]", &["a", "b", "x"]),
];

fn matching(matches: impl Fn(&str) -> bool) -> Vec<&'static str> {
    TEXTS.iter().copied().filter(|text| matches(text)).collect()
}

#[test]
fn globs_match_what_gobwas_matches() {
    for (pattern, separators, want) in GLOBS {
        let separators: Vec<char> = separators.chars().collect();
        let glob = Glob::with_separators(pattern, &separators).ok();
        let got = glob.map(|glob| matching(|text| glob.matches(text)));
        assert_eq!(got.as_deref(), *want, "{pattern} {separators:?}");
    }
    for all in ["*", "**", "***", "*{0,}"] {
        assert_eq!(matching(|text| matches(all, text)), TEXTS, "{all}");
    }
    let one_level = Glob::with_separators("*", &['/']).unwrap();
    assert_eq!(matching(|text| one_level.matches(text)), matching(|text| !text.contains('/')));
}

#[test]
fn paths_match_what_go_matches() {
    for (pattern, want) in PATHS {
        assert_eq!(matching(|text| path_matches(pattern, text)), *want, "{pattern}");
    }
    assert_eq!(matching(|text| path_matches("*", text)), matching(|text| !text.contains('/')));
}

#[test]
fn namespaces_are_globs_or_expressions_between_slashes() {
    for (entry, namespace, want) in [
        ("team-*", "team-a", true),
        ("team-*", "other", false),
        ("/team-[ab]/", "my-team-a-x", true),
        ("/^team-[ab]$/", "team-c", false),
        ("/(/", "(", false),
        ("//", "x", false),
        ("*", "anything", true),
    ] {
        assert_eq!(in_namespaces(&[entry.to_owned()], namespace), want, "{entry} {namespace}");
    }
}

#[test]
fn patterns_of_strangers_cost_little() {
    let deep = "{".repeat(100_000);
    assert!(Glob::new(&deep).is_err());
    let nasty = format!("{}b", "a*".repeat(500));
    assert!(!matches(&nasty, &"a".repeat(2000)));
}
