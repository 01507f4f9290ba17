//! What the API server says of a Secret, without what it quotes of it: refusals quote values ("Invalid value: …"),
//! those of server-side apply and of decoders too, and a webhook may say anything. So nothing is taken over but what is
//! known to be free of values. Pure.
use kube::core::Status;

/// Reasons whose messages name objects, users and managers, and no values (apimachinery, `api/errors`).
const PLAIN: [&str; 10] = [
    "AlreadyExists",
    "Conflict",
    "Expired",
    "Gone",
    "MethodNotAllowed",
    "NotFound",
    "ServerTimeout",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
];
/// Where a message of refused content begins to quote.
const QUOTES: [&str; 8] = [
    "Invalid value",
    "Unsupported value",
    "Duplicate value",
    ", got ",
    "found in #",
    "cannot unmarshal",
    "cannot be handled",
    "unrecognized",
];
/// What says what is wrong and holds no value; a number follows the words that end with a blank.
const CAUSES: [&str; 8] = [
    "failed to create typed patch object",
    "field is immutable",
    "field not declared in schema",
    "a valid config key must consist of alphanumeric characters",
    "illegal base64 data at input byte ",
    "may not be more than ",
    "must be no more than ",
    "Required value",
];
/// Fields of a Secret, by which paths into it are known.
const ROOTS: [&str; 6] = ["data", "stringData", "metadata", "type", "immutable", "apiVersion"];

/// The message of a refusal that concerns a Secret.
pub(super) fn of_secret(status: &Status) -> String {
    let message = status.message.as_str();
    if let Some(webhook) = quoted(message, "admission webhook \"", '"') {
        return format!(
            "admission webhook \"{webhook}\" denied the request (its words are left out: they may quote the Secret)"
        );
    }
    let named =
        |object: &str| quoted(object, "secrets \"", '"').is_some_and(|name| object == format!("secrets \"{name}\""));
    if let Some((object, why)) = message.split_once(" is forbidden: ")
        && named(object)
    {
        if let Some(policy) = quoted(why, "ValidatingAdmissionPolicy '", '\'') {
            return format!(
                "{object} is forbidden: ValidatingAdmissionPolicy '{policy}' denied request (its words are left out: they may quote the Secret)"
            );
        }
        if ["User \"", "exceeded quota: ", "unable to create new content in namespace "]
            .iter()
            .any(|known| why.starts_with(known))
        {
            return message.to_owned();
        }
    }
    if PLAIN.contains(&status.reason.as_str()) {
        return message.to_owned();
    }
    let reason = if status.reason.is_empty() { "refused" } else { status.reason.as_str() };
    let mut words = format!("the API server refused the Secret ({reason})");
    for list in [fields(status), causes(message)] {
        if !list.is_empty() {
            words = format!("{words}: {}", list.join(", "));
        }
    }
    format!("{words} (values are left out)")
}

/// The text between a beginning and a closing quote.
fn quoted<'a>(text: &'a str, begin: &str, close: char) -> Option<&'a str> {
    text.strip_prefix(begin)?.split(close).next()
}

/// The fields that are named: by the causes, else in the message before it begins to quote.
fn fields(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes).map(|cause| cause.field.clone());
    let mut fields: Vec<String> = causes.filter(|field| is_path(field)).collect();
    if fields.is_empty() {
        let message = status.message.as_str();
        let end = QUOTES.iter().filter_map(|mark| message.find(mark)).min().unwrap_or(message.len());
        let words = message[..end].split(' ').filter_map(|word| word.strip_suffix(':'));
        fields = words.filter(|word| is_path(word)).map(str::to_owned).collect();
        let unknown = message[..end].split("unknown field \"").skip(1).filter_map(|rest| rest.split('"').next());
        // Types and fields only, once the words before are gone: a decoder tells a number that does not fit.
        let typed = message.split_once("into Go struct field Secret.").and_then(|(_, rest)| rest.split(' ').next());
        fields.extend(typed.filter(|path| is_path(path)).map(str::to_owned));
        fields.extend(unknown.filter(|name| of_path(name)).map(|name| format!("unknown field {name}")));
    }
    fields.dedup();
    fields
}

fn of_path(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || "._-[]/".contains(char))
}

fn is_path(text: &str) -> bool {
    let root = text.trim_start_matches('.').split(['.', '[']).next().unwrap_or_default();
    of_path(text) && ROOTS.contains(&root)
}

fn causes(message: &str) -> Vec<String> {
    let found = CAUSES.iter().filter_map(|cause| {
        let rest = message.split_once(cause)?.1;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        match (cause.ends_with(' '), number.is_empty()) {
            (true, true) => None,
            (true, false) if cause.contains("base64") => Some(format!("{cause}{number}")),
            (true, false) => Some(format!("{cause}{number} bytes")),
            (false, _) => Some((*cause).to_owned()),
        }
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(code: u16, reason: &str, message: &str, causes: &[(&str, &str)]) -> String {
        let causes: Vec<_> = causes
            .iter()
            .map(|(field, message)| json!({"reason": "FieldValueInvalid", "field": field, "message": message}))
            .collect();
        let status = json!({"status": "Failure", "code": code, "reason": reason, "message": message, "details": {"name": "s", "kind": "Secret", "causes": causes}});
        of_secret(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn no_value_is_passed_on_and_what_is_wrong_is_still_said() {
        for (code, reason, message, causes, want) in [
            (
                422,
                "Invalid",
                r#"Secret "s" is invalid: [data[.dockerconfigjson]: Invalid value: "hunter2": invalid character 'h' looking for beginning of value, metadata.name: Invalid value: "S": x]"#,
                vec![("data[.dockerconfigjson]", r#"Invalid value: "hunter2": x"#), ("metadata.name", "y")],
                "the API server refused the Secret (Invalid): data[.dockerconfigjson], metadata.name (values are left out)",
            ),
            (
                422,
                "Invalid",
                r#"Secret "s" is invalid: data: Forbidden: field is immutable when `immutable` is set"#,
                vec![("data", "Forbidden: field is immutable when `immutable` is set")],
                "the API server refused the Secret (Invalid): data: field is immutable (values are left out)",
            ),
            (
                422,
                "Invalid",
                r#"Secret "s" is invalid: type: Invalid value: "hunter2": field is immutable"#,
                vec![],
                "the API server refused the Secret (Invalid): type: field is immutable (values are left out)",
            ),
            (
                500,
                "",
                r"failed to create typed patch object (n/s; /v1, Kind=Secret): .data.password: expected string, got &value.valueUnstructured{Value:hunter2}",
                vec![],
                "the API server refused the Secret (refused): .data.password: failed to create typed patch object (values are left out)",
            ),
            (
                500,
                "",
                "failed to create typed patch object (n/s; /v1, Kind=Secret): .datta: field not declared in schema",
                vec![],
                "the API server refused the Secret (refused): failed to create typed patch object, field not declared in schema (values are left out)",
            ),
            (
                400,
                "BadRequest",
                r#"Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 4, error found in #10 byte of ...|":"hunter2"}|..., bigger context ...|"data":{"p":"hunter2"}|..."#,
                vec![],
                "the API server refused the Secret (BadRequest): illegal base64 data at input byte 4 (values are left out)",
            ),
            (
                400,
                "BadRequest",
                r#"error when creating patch: cannot unmarshal number 4711 into Go struct field Secret.data of type []uint8 hunter2"#,
                vec![],
                "the API server refused the Secret (BadRequest): data (values are left out)",
            ),
            (
                400,
                "BadRequest",
                r#"strict decoding error: unknown field "datta", unknown field "metadata.annotation""#,
                vec![],
                "the API server refused the Secret (BadRequest): unknown field datta, unknown field metadata.annotation (values are left out)",
            ),
            (
                400,
                "",
                r#"admission webhook "policy.example.org" denied the request: the password hunter2 is too short"#,
                vec![],
                r#"admission webhook "policy.example.org" denied the request (its words are left out: they may quote the Secret)"#,
            ),
            (
                422,
                "Invalid",
                r#"secrets "s" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: hunter2 is too short"#,
                vec![],
                r#"secrets "s" is forbidden: ValidatingAdmissionPolicy 'p' denied request (its words are left out: they may quote the Secret)"#,
            ),
        ] {
            let found = said(code, reason, message, &causes);
            assert_eq!(found, want, "{message}");
            assert!(!found.contains("hunter2") && !found.contains("4711"));
        }
    }

    #[test]
    fn a_value_that_looks_like_a_plain_refusal_is_no_way_out() {
        for value in [r#"hunter2 is forbidden: User "x"#, "hunter2: data.hunter2: may not be more than "] {
            let found =
                said(422, "Invalid", &format!("Secret \"s\" is invalid: type: Invalid value: {value:?}: x"), &[]);
            assert_eq!(found, "the API server refused the Secret (Invalid): type (values are left out)");
        }
    }

    #[test]
    fn what_holds_no_value_is_passed_on_whole() {
        for (code, reason, message) in [
            (
                403,
                "Forbidden",
                r#"secrets "s" is forbidden: User "system:serviceaccount:argocd:tako" cannot patch resource "secrets" in API group "" in the namespace "n""#,
            ),
            (
                403,
                "Forbidden",
                r#"secrets "s" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=3, limited: secrets=3"#,
            ),
            (404, "NotFound", r#"namespaces "n" not found"#),
            (409, "Conflict", r#"Apply failed with 1 conflict: conflict with "kubectl" using v1: .data.password"#),
            (409, "AlreadyExists", r#"secrets "s" already exists"#),
        ] {
            assert_eq!(said(code, reason, message, &[]), message);
        }
    }
}
