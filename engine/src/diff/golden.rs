//! Argo CD's own verdicts (`tests/oracle`), which ours must equal.
use serde_json::Value;

use super::*;

fn lines(text: &str) -> Vec<Value> {
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn our_verdicts_are_argo_cds() {
    let recorded =
        (include_str!("testdata/corpus.jsonl").to_owned(), include_str!("testdata/verdicts.jsonl").to_owned());
    // Other cases than those recorded: `oracle.sh chance`.
    let (corpus, verdicts) = std::env::var("TAKO_ORACLE").map_or(recorded, |directory| {
        let read = |file: &str| std::fs::read_to_string(std::path::Path::new(&directory).join(file)).unwrap();
        (read("corpus.jsonl"), read("verdicts.jsonl"))
    });
    let (corpus, verdicts) = (lines(&corpus), lines(&verdicts));
    assert!(corpus.len() >= 80 && corpus.len() == verdicts.len(), "{} {}", corpus.len(), verdicts.len());
    let (schemas, ignored) = (Schemas::builtin(), Ignored::default());
    // The oracle is asked without normalisers: those of settings have their own tests.
    let rollout = ("argoproj.io".to_owned(), "Rollout".to_owned());
    let settings =
        Settings { ignore_status: IgnoreStatus::None, known: [(rollout, Vec::new())].into(), ..Settings::default() };
    let mut wrong = Vec::new();
    for (case, verdict) in corpus.iter().zip(&verdicts) {
        let name = case["name"].as_str().unwrap();
        assert_eq!(case["name"], verdict["name"]);
        let has = |option: &str| case["options"].as_array().is_some_and(|all| all.iter().any(|one| one == option));
        let ignored = Ignored { aggregated_roles: has("IgnoreAggregatedRoles"), ..ignored.clone() };
        let side = |name: &str| case.get(name).filter(|side| !side.is_null());
        let strategy = match side("predicted") {
            None => Strategy::ClientSide,
            predicted => Strategy::ServerSide { predicted, include_mutation_webhook: has("IncludeMutationWebhook") },
        };
        let inputs = Inputs {
            target: side("target"),
            live: side("live"),
            ignored: &ignored,
            schemas: &schemas,
            settings: &settings,
            strategy,
        };
        match between(&inputs) {
            Err(error) if verdict["error"].is_string() => assert!(!error.is_empty()),
            Err(error) => wrong.push(format!("{name}: {error}")),
            // An answer of the API server that breaks its own schema: chance makes such, we bear them.
            Ok(_) if verdict["error"].as_str().is_some_and(|error| error.contains(" from unstructured to ")) => {}
            Ok(_) if verdict["error"].is_string() => wrong.push(format!("{name}: no error, but {}", verdict["error"])),
            Ok(found) => {
                let modified = found.status == SyncCode::OutOfSync;
                // Of an object on one side only, Argo CD says elsewhere that it is OutOfSync.
                let both = case["target"].is_object() && case["live"].is_object();
                if both && modified != verdict["modified"].as_bool().unwrap() {
                    wrong.push(format!("{name}: {modified}: {:?}", found.changed));
                }
                for (what, ours) in [("predictedLive", found.predicted), ("normalizedLive", found.live)] {
                    let mut differ = Vec::new();
                    differences(&ours.unwrap_or_default(), &verdict[what], "", &mut differ);
                    if !differ.is_empty() {
                        wrong.push(format!("{name}: {what}: {differ:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
}

#[test]
fn whatever_is_there_is_what_is_there() {
    let corpus = lines(include_str!("testdata/corpus.jsonl"));
    let (schemas, ignored, settings) = (Schemas::builtin(), Ignored::default(), Settings::default());
    let mut judged = 0;
    for case in &corpus {
        for object in
            ["target", "live", "predicted"].iter().filter_map(|side| case.get(*side)).filter(|side| side.is_object())
        {
            let (target, live) = (Some(object), Some(object));
            let inputs = Inputs {
                target,
                live,
                ignored: &ignored,
                schemas: &schemas,
                settings: &settings,
                strategy: Strategy::ClientSide,
            };
            let found = between(&inputs).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
            assert_eq!(found.status, SyncCode::Synced, "{}: {:?}", case["name"], found.changed);
            judged += 1;
        }
    }
    assert!(judged > corpus.len(), "{judged}");
}
