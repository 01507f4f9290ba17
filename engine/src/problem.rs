//! The one table of problems that users are told of: code, title, what to do. Docs are made from it.

/// A problem that a user may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// Stable, searchable.
    pub code: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// All of them, by code.
pub const PROBLEMS: &[Problem] = &[
    Problem {
        code: "TAKO-1001",
        title: "The repository cannot be read",
        remedy: "Check the URL, the network and the credentials of the repository.",
    },
    Problem {
        code: "TAKO-1002",
        title: "The revision does not exist",
        remedy: "Push the branch or tag, or correct targetRevision.",
    },
    Problem { code: "TAKO-1003", title: "The path does not exist", remedy: "Correct spec.source.path." },
    Problem {
        code: "TAKO-1004",
        title: "A manifest is no valid YAML or JSON",
        remedy: "Mend the file at the line named in the condition.",
    },
    Problem { code: "TAKO-2001", title: "The destination cluster is not known", remedy: "Correct spec.destination." },
    Problem {
        code: "TAKO-2002",
        title: "The cluster does not serve a kind",
        remedy: "Install its CustomResourceDefinition, or correct apiVersion and kind.",
    },
    Problem {
        code: "TAKO-3001",
        title: "Automated sync would delete everything",
        remedy: "Check the repository; if it is wanted, set allowEmpty or sync by hand with prune.",
    },
    Problem {
        code: "TAKO-4001",
        title: "The bus cannot be reached",
        remedy: "Check that nats-server runs and that --nats-url is right.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted() {
        assert!(PROBLEMS.windows(2).all(|pair| pair[0].code < pair[1].code));
    }
}
