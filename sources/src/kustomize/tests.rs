use super::*;

#[test]
fn versions_are_read_from_what_programs_say() {
    for (text, want) in
        [("v5.8.2\n", Some((5, 8))), ("{kustomize/v4.5.7  2022-08-02T16:35:54Z  }", Some((4, 5))), ("(devel)", None)]
    {
        assert_eq!(version_in(text), want, "{text}");
    }
    for (text, want) in [("v1.37.2-eks-1+k", "1.37.2"), ("1.30", "1.30"), ("", ""), ("v1.30+", "1.30")] {
        assert_eq!(plain_version(text), want);
    }
}

#[test]
fn components_are_globbed_as_go_does() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["app", "c/a", "c/b", "c/.h", "d/x/y"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    let tree = Tree::of_directory(root.path());
    let of = |components: &[&str], ignore_missing_components: bool| {
        let components = components.iter().map(|name| (*name).to_owned()).collect();
        let wanted = Kustomize { components, ignore_missing_components, ..Kustomize::default() };
        super::components(&tree, "app", &wanted).unwrap()
    };
    assert_eq!(of(&["../c/*"], false), ["../c/a", "../c/b"]);
    assert_eq!(of(&["../[cd]/?", "../d/*/y"], false), ["../c/a", "../c/b", "../d/x", "../d/x/y"]);
    assert_eq!(of(&["../none/*", "../c/a"], false), ["../none/*", "../c/a"]);
    assert_eq!(of(&["../none", "../c/a", "https://github.com/a/b"], true), ["../c/a"]);
}
