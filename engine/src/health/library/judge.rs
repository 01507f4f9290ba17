//! The few generic judges that most kinds need, and what the others are made of. Must not know any operator.
//!
//! Sources: the Kubernetes API conventions ("Typical status properties") for what a condition and an
//! observedGeneration mean; Argo CD, operator manual, "Resource Health" for the verdicts.
use serde_json::Value;

use super::super::Health;
use crate::app::HealthCode::{self, Healthy, Progressing};

/// How a kind is judged.
pub(super) enum Judge {
    /// By its `status.conditions`.
    Conditions(Conditions),
    /// By one word of its status.
    Field(Field),
    /// By a rule of its own.
    Own(fn(&Value) -> Health),
}

impl Judge {
    pub(super) fn of(&self, live: &Value) -> Health {
        match self {
            Self::Conditions(rule) => rule.of(live),
            Self::Field(rule) => rule.of(live),
            Self::Own(rule) => rule(live),
        }
    }
}

/// Passes over the conditions: in each, the first condition that some clause fits decides; a pass that fits none
/// leaves it to the next.
pub(super) struct Conditions {
    passes: &'static [&'static [Clause]],
    otherwise: HealthCode,
}

impl Conditions {
    fn of(&self, live: &Value) -> Health {
        let listed = items(live, "/status/conditions");
        self.passes
            .iter()
            .find_map(|pass| {
                listed
                    .iter()
                    .find_map(|found| pass.iter().find(|clause| clause.fits(found)).map(|clause| clause.of(found)))
            })
            .unwrap_or_else(|| match self.otherwise {
                Progressing => waiting(live),
                verdict => Health::new(verdict, ""),
            })
    }
}

/// A judge by conditions; an object that says nothing is under way.
pub(super) const fn conditions(passes: &'static [&'static [Clause]]) -> Judge {
    conditions_or(Progressing, passes)
}

/// A judge by conditions with another verdict for an object that says nothing.
pub(super) const fn conditions_or(otherwise: HealthCode, passes: &'static [&'static [Clause]]) -> Judge {
    Judge::Conditions(Conditions { passes, otherwise })
}

/// Ready True is Healthy, Ready False is Degraded, anything else is under way: the rule of most operators.
pub(super) const READY: Judge =
    conditions(&[&[when("Ready", "False", HealthCode::Degraded), when("Ready", "True", Healthy)]]);

/// One kind of condition and what it means.
#[derive(Clone, Copy)]
pub(super) struct Clause {
    kind: &'static str,
    status: &'static str,
    but_not: bool,
    reasons: Option<&'static [&'static str]>,
    but_reasons: &'static [&'static str],
    verdict: HealthCode,
    by_reason: bool,
}

/// The condition of this type with this status; an empty string fits any.
pub(super) const fn when(kind: &'static str, status: &'static str, verdict: HealthCode) -> Clause {
    Clause { kind, status, but_not: false, reasons: None, but_reasons: &[], verdict, by_reason: false }
}

/// The condition of this type with any status but this.
pub(super) const fn unless(kind: &'static str, status: &'static str, verdict: HealthCode) -> Clause {
    Clause { but_not: true, ..when(kind, status, verdict) }
}

impl Clause {
    /// Only for these reasons.
    pub(super) const fn because(mut self, reasons: &'static [&'static str]) -> Self {
        self.reasons = Some(reasons);
        self
    }

    /// Not for these reasons.
    pub(super) const fn but_because(mut self, reasons: &'static [&'static str]) -> Self {
        self.but_reasons = reasons;
        self
    }

    /// The message is the condition's reason.
    pub(super) const fn by_reason(mut self) -> Self {
        self.by_reason = true;
        self
    }

    fn fits(&self, found: &Value) -> bool {
        let (status, reason) = (text(found, "/status"), text(found, "/reason"));
        (self.kind.is_empty() || found["type"] == self.kind)
            && (self.status.is_empty() || (status == self.status) != self.but_not)
            && self.reasons.is_none_or(|reasons| reasons.contains(&reason))
            && !self.but_reasons.contains(&reason)
    }

    fn of(&self, found: &Value) -> Health {
        let words = match (self.by_reason, self.verdict) {
            (true, _) => text(found, "/reason").to_owned(),
            (false, Healthy) => text(found, "/message").to_owned(),
            (false, _) => said(found),
        };
        Health::new(self.verdict, words)
    }
}

/// A word of the status and what its values mean.
pub(super) struct Field {
    at: &'static str,
    map: &'static [(&'static str, HealthCode)],
    unlisted: HealthCode,
    absent: HealthCode,
    message: &'static str,
}

/// A judge by one word; a word that is not listed, and none, mean under way. The message is the word.
pub(super) const fn field(at: &'static str, map: &'static [(&'static str, HealthCode)]) -> Field {
    Field { at, map, unlisted: Progressing, absent: Progressing, message: "" }
}

impl Field {
    /// The verdict for words that are not listed.
    pub(super) const fn unlisted(mut self, verdict: HealthCode) -> Self {
        self.unlisted = verdict;
        self
    }

    /// The verdict when there is no word.
    pub(super) const fn absent(mut self, verdict: HealthCode) -> Self {
        self.absent = verdict;
        self
    }

    /// Where the message is, if the object has one.
    pub(super) const fn message(mut self, at: &'static str) -> Self {
        self.message = at;
        self
    }

    /// The judge.
    pub(super) const fn judge(self) -> Judge {
        Judge::Field(self)
    }

    fn of(&self, live: &Value) -> Health {
        let word = text(live, self.at);
        if word.is_empty() {
            return Health::new(self.absent, waiting(live).message);
        }
        let verdict = self.map.iter().find(|(value, _)| *value == word).map_or(self.unlisted, |(_, verdict)| *verdict);
        Health::new(verdict, or(text(live, self.message), word))
    }
}

/// Under way, for an object that has said nothing yet.
pub(super) fn waiting(live: &Value) -> Health {
    Health::new(Progressing, format!("{} has not reported yet", text(live, "/kind")))
}

/// The spec is newer than what the controller has seen.
pub(super) fn unobserved() -> Health {
    Health::new(Progressing, "The controller has not seen the latest spec yet")
}

/// What a condition says: its message, or its reason, or its name.
pub(super) fn said(found: &Value) -> String {
    let name = || format!("{} is {}", text(found, "/type"), text(found, "/status"));
    [text(found, "/message"), text(found, "/reason")]
        .into_iter()
        .find(|words| !words.is_empty())
        .map_or_else(name, str::to_owned)
}

/// The first unless it is empty.
pub(super) fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

/// The string there, or an empty one. An empty pointer points at nothing.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number there.
pub(super) fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// Whether there is something.
pub(super) fn exists(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some_and(|found| !found.is_null())
}

/// Whether there is a `true`.
pub(super) fn truth(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

/// The list there, or an empty one.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The first condition of this type in a list of them.
pub(super) fn find<'a>(listed: &'a [Value], kind: &str) -> Option<&'a Value> {
    listed.iter().find(|found| found["type"] == kind)
}

/// The first condition of this type.
pub(super) fn condition<'a>(live: &'a Value, kind: &str) -> Option<&'a Value> {
    find(items(live, "/status/conditions"), kind)
}

/// The first condition of this type that has this status.
pub(super) fn condition_is<'a>(live: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    items(live, "/status/conditions").iter().find(|found| found["type"] == kind && found["status"] == status)
}

/// Whether the controller has seen exactly this generation (neither said counts as seen).
pub(super) fn observed(live: &Value) -> bool {
    number(live, "/status/observedGeneration") == number(live, "/metadata/generation")
}

/// Whether something (the status, or one condition) tells of another generation than the object's.
pub(super) fn stale(live: &Value, observed: &Value) -> bool {
    match (number(live, "/metadata/generation"), observed.as_i64()) {
        (Some(wanted), Some(seen)) => wanted != seen,
        _ => false,
    }
}
