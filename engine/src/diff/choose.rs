//! Which comparison an object gets, and what an extra object does to its Application (Argo CD, "Diff Strategies" and
//! "Compare Options"). Pure.
use serde_json::Value;

use crate::options;

/// The annotation, of Applications and of objects.
pub const COMPARE_OPTIONS: &str = "argocd.argoproj.io/compare-options";

/// How the objects of an Application are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// By the merge that an apply from the client would make.
    ClientSide,
    /// By the API server's answer to a dry run.
    ServerSide {
        /// What mutating webhooks did counts as well.
        include_mutation_webhook: bool,
    },
}

fn has(options: Option<&str>, wanted: &str) -> bool {
    options.is_some_and(|all| all.split(',').any(|one| one.trim() == wanted))
}

/// `compare` is the Application's annotation [`COMPARE_OPTIONS`], `sync` its `spec.syncPolicy.syncOptions`, `controller`
/// the setting `controller.diff.server.side`.
///
/// As in Argo CD 3.6: the comparison is server-side too when all is applied by the server, for the structured merge that
/// used to be there is gone; `ServerSideDiff=false` always wins. Annotations of single objects choose nothing.
pub fn choose(compare: Option<&str>, sync: &[String], controller: bool) -> Choice {
    let server_side = !has(compare, "ServerSideDiff=false")
        && (controller
            || has(compare, "ServerSideDiff=true")
            || options::of_application(sync, "ServerSideApply") == Some("true"));
    if server_side {
        Choice::ServerSide { include_mutation_webhook: has(compare, "IncludeMutationWebhook=true") }
    } else {
        Choice::ClientSide
    }
}

/// An object that is not in git any more does not make its Application OutOfSync (`IgnoreExtraneous`).
pub fn ignores_extraneous(live: &Value) -> bool {
    has(live["metadata"]["annotations"][COMPARE_OPTIONS].as_str(), "IgnoreExtraneous")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_choose() {
        let server = |include_mutation_webhook| Choice::ServerSide { include_mutation_webhook };
        let apply: &[String] = &["ServerSideApply=true".to_owned()];
        let cases = [
            (None, &[][..], false, Choice::ClientSide),
            (None, &[], true, server(false)),
            (Some("ServerSideDiff=true"), &[], false, server(false)),
            (Some("IncludeMutationWebhook=true, ServerSideDiff=true"), &[], false, server(true)),
            (Some("ServerSideDiff=false"), apply, true, Choice::ClientSide),
            (None, apply, false, server(false)),
            (Some("IgnoreExtraneous"), &["ServerSideApply=false".to_owned()][..], false, Choice::ClientSide),
        ];
        for (compare, sync, controller, want) in cases {
            assert_eq!(choose(compare, sync, controller), want, "{compare:?} {sync:?} {controller}");
        }
    }

    #[test]
    fn an_extra_object_may_be_nobodys_concern() {
        let with = |value: &str| json!({"metadata": {"annotations": {COMPARE_OPTIONS: value}}});
        assert!(ignores_extraneous(&with("a, IgnoreExtraneous")));
        assert!(!ignores_extraneous(&with("IgnoreExtraneous=x")));
        assert!(!ignores_extraneous(&json!({})));
    }
}
