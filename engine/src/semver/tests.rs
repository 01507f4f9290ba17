use super::*;

const VERSIONS: [&str; 19] = [
    "0.0.0",
    "0.0.3",
    "0.2.3",
    "0.2.9",
    "0.3.0",
    "1.0.0",
    "1.2.0",
    "1.2.3",
    "v1.2.4",
    "1.3.0-rc.1",
    "1.3.0",
    "2.0.0-alpha",
    "2.0.0",
    "10.1",
    "11",
    "1.2.3-beta.2",
    "1.2.3-beta.10",
    "1.2.3+b1",
    "01.2.3",
];

/// The answers of Masterminds/semver 3.5.0: which of the versions each constraint admits, `None` for what is none.
#[test]
fn constraints_admit_what_masterminds_admits() {
    for (text, want) in [
        ("1.2.3", Some(".......x.........xx")),
        ("=1.2.3", Some(".......x.........xx")),
        ("v1.2.3", Some(".......x.........xx")),
        ("1.2", Some("......xxx........xx")),
        ("1.2.x", Some("......xxx........xx")),
        ("1.2.*", Some("......xxx........xx")),
        ("1", Some(".....xxxx.x......xx")),
        ("1.x", Some(".....xxxx.x......xx")),
        ("1.x.3", Some(".....xxxx.x......xx")),
        ("*", Some("xxxxxxxxx.x.xxx..xx")),
        ("x", Some("xxxxxxxxx.x.xxx..xx")),
        ("*-0", Some("xxxxxxxxxxxxxxxxxxx")),
        (">=0.0.0-0", Some("xxxxxxxxxxxxxxxxxxx")),
        ("!=1.2.3", Some("xxxxxxx.x.x.xxx....")),
        ("!=1.2", Some("xxxxxx....x.xxx....")),
        ("!=1", Some("xxxxx.......xxx....")),
        ("!=*", Some(".xxxxxxxx.x.xxx..xx")),
        ("!=1.2-beta.2", Some("xxxxxxxxxxxxxxx.xxx")),
        (">1.2.3", Some("........x.x.xxx....")),
        (">1.2", Some("..........x.xxx....")),
        (">1", Some("............xxx....")),
        (">*", Some(".xxxxxxxx.x.xxx..xx")),
        (">11", Some("...................")),
        ("<1.2.3", Some("xxxxxxx............")),
        ("<1.2", Some("xxxxxx.............")),
        (">=1.2", Some("......xxx.x.xxx..xx")),
        ("=>1.2.3", Some(".......xx.x.xxx..xx")),
        ("<=1.2.3", Some("xxxxxxxx.........xx")),
        ("<=1.2", Some("xxxxxxxxx........xx")),
        ("<=1", Some("xxxxxxxxx.x......xx")),
        ("=<1", Some("xxxxxxxxx.x......xx")),
        ("<=*", Some("xx.................")),
        ("~1", Some(".....xxxx.x......xx")),
        ("~1.2", Some("......xxx........xx")),
        ("~1.2.3", Some(".......xx........xx")),
        ("~>1.2", Some("......xxx........xx")),
        ("~0.0.0", Some("xxxxxxxxx.x.xxx..xx")),
        ("~1.2.3-beta.2", Some(".......xx......xxxx")),
        ("~*", Some("xxxxxxxxx.x.xxx..xx")),
        ("^1", Some(".....xxxx.x......xx")),
        ("^1.2", Some("......xxx.x......xx")),
        ("^1.2.3", Some(".......xx.x......xx")),
        ("^0", Some("xxxxx..............")),
        ("^0.2", Some("..xx...............")),
        ("^0.2.3", Some("..xx...............")),
        ("^0.0", Some("xx.................")),
        ("^0.0.3", Some(".x.................")),
        ("^*", Some("x..................")),
        ("^1.2.3-beta.2", Some(".......xxxx....xxxx")),
        ("1.2 - 1.3", Some("......xxx.x......xx")),
        ("1.2.3 - 2", Some(".......xx.x.x....xx")),
        ("1 - 2, !=1.2.3", Some(".....xx.x.x.x......")),
        (">=1, <2", Some(".....xxxx.x......xx")),
        (">=1 <2", Some(".....xxxx.x......xx")),
        (">= 1 , < 2", Some(".....xxxx.x......xx")),
        ("<1 || >=2", Some("xxxxx.......xxx....")),
        ("^0.2 || ~1.3", Some("..xx......x........")),
        (">=1.2.3-beta.2 <1.2.3", Some("...............xx..")),
        ("<2.0.0-beta", Some("xxxxxxxxxxxx...xxxx")),
        ("1.2.3 || ", None),
        ("", None),
        ("main", None),
        ("1.2.3.4", None),
        (">1 - 2", None),
        ("3 1 - 2", None),
        ("3, 1 - 2", Some("...................")),
        (">=1,", None),
        ("1,,2", None),
        ("release-1.2", None),
        ("1.2.3-01", None),
        ("01.2.3", Some(".......x.........xx")),
        ("1.xx", None),
        (" 1.2.3 ", Some(".......x.........xx")),
        ("> =1", None),
        (">=1.2.3||<1", Some("xxxxx..xx.x.xxx..xx")),
        ("1.2.3+b2", Some(".......x.........xx")),
        ("99999999999999999999", None),
    ] {
        let found = Constraint::parse(text).map(|constraint| {
            let admits = |text: &str| constraint.admits(&version(text).unwrap());
            VERSIONS.map(|text| if admits(text) { 'x' } else { '.' }).iter().collect::<String>()
        });
        assert_eq!(found.as_deref(), want, "{text}");
    }
}

#[test]
fn what_is_no_version_is_none() {
    for text in
        ["", "x", "*", "1.x", "1.2.3.4", "1.2.3-01", "1.2.3-", "main", "release-1", "1..2", "v", "V1", " 1", "1.2.3+"]
    {
        assert_eq!(version(text), None, "{text}");
    }
    assert_eq!(version("v1").map(|version| version.to_string()).as_deref(), Some("1.0.0"));
    assert_eq!(version(&"1".repeat(VERSION_BYTES_MAX + 1)), None);
    assert_eq!(Constraint::parse(&vec!["1"; ALTERNATIVES_MAX + 1].join("||")), None);
}
