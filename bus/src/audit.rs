//! Audit: who changed what, why and with what outcome, as CloudEvents 1.0 JSON on a stream that nobody may delete
//! from. Each producer chains its records: the hash of the one before and a counter, so a gap or a change shows.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tako_engine::app::AppKey;
use tokio::sync::Mutex;

use crate::envelope::{Cause, headers};
use crate::subject::{PREFIX, token};
use crate::{Bus, BusError};

/// What is recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The AppProject; empty for what belongs to none (sign-in).
    pub project: String,
    /// create, update, delete, apply, sync, refresh, login, denied …
    pub verb: String,
    /// `user:<name>`, `sa:<component>`.
    pub actor: String,
    /// Whose.
    pub app: Option<AppKey>,
    /// Which object, if it is one.
    pub resource: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// What brought it about.
    pub reason: String,
    /// More, without secrets.
    pub detail: Value,
}

/// The end of this producer's chain.
#[derive(Default)]
pub(crate) struct Chain {
    last: Mutex<(u64, String)>,
}

impl Bus {
    /// Records; returns when the bus has it for good. User commands are refused when this fails.
    pub async fn audit(&self, record: AuditRecord, cause: &Cause) -> Result<(), BusError> {
        let (id, mut headers) = headers("audit/1", cause);
        headers.insert("Nats-Msg-Id", id.to_string());
        headers.insert("Content-Type", "application/cloudevents+json");
        let subject = subject(&record);
        // Held until confirmed: the order of the chain is the order of the stream.
        let mut last = self.inner.chain.last.lock().await;
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "type": format!("dev.takobune.audit.{}", token(&record.verb)),
            "source": format!("/takobune/{}", self.inner.process),
            "subject": record.app.as_ref().map(ToString::to_string),
            "time": jiff::Timestamp::now().to_string(),
            "datacontenttype": "application/json",
            "takocorrelation": cause.root,
            "takocausation": cause.id,
            "takocounter": last.0 + 1,
            "takoprev": last.1,
            "data": record,
        });
        let body = serde_json::to_vec(&event).map_err(BusError::codec)?;
        let hash = hex::encode(Sha256::digest(&body));
        self.publish(subject, headers, body.into()).await?;
        *last = (last.0 + 1, hash);
        Ok(())
    }
}

fn subject(record: &AuditRecord) -> String {
    let actor = record.actor.split(':').next().unwrap_or_default();
    match &record.app {
        Some(app) => format!(
            "{PREFIX}.audit.{}.{}.{}.{}",
            token(&record.project),
            token(actor),
            token(&record.verb),
            app.token()
        ),
        None => format!("{PREFIX}.audit._auth.{}", token(&record.verb)),
    }
}

/// Checks the chains of all producers in records as stored, oldest first. The error names the first that does not fit.
pub fn verify_chain<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<usize, String> {
    let mut ends: std::collections::HashMap<String, (u64, String)> = std::collections::HashMap::new();
    let mut count = 0;
    for body in records {
        let event: Value =
            serde_json::from_slice(body).map_err(|error| format!("record {count} is no JSON: {error}"))?;
        let source = event["source"].as_str().unwrap_or_default().to_owned();
        let (counter, prev) =
            (event["takocounter"].as_u64().unwrap_or_default(), event["takoprev"].as_str().unwrap_or_default());
        if let Some((last, hash)) = ends.get(&source)
            && (counter != last + 1 || prev != hash)
        {
            return Err(format!("{source}: record {counter} does not follow record {last}"));
        }
        ends.insert(source, (counter, hex::encode(Sha256::digest(body))));
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_hold_no_unencoded_text() {
        let record = AuditRecord {
            project: "my project".into(),
            verb: "sync".into(),
            actor: "user:admin".into(),
            app: Some(AppKey { namespace: "argocd".into(), name: "a.b".into() }),
            ..AuditRecord::default()
        };
        assert!(subject(&record).ends_with(".user.sync.argocd.a_b"));
        assert_eq!(subject(&record).split('.').count(), 8);
        assert_eq!(
            subject(&AuditRecord { verb: "login".into(), ..AuditRecord::default() }),
            "tako.v1.audit._auth.login"
        );
    }

    #[test]
    fn a_gap_or_a_change_shows() {
        let record = |counter: u64, prev: &str, data: &str| {
            json!({"source": "s", "takocounter": counter, "takoprev": prev, "data": data}).to_string().into_bytes()
        };
        let first = record(1, "", "a");
        let hash = hex::encode(Sha256::digest(&first));
        let second = record(2, &hash, "b");
        assert_eq!(verify_chain([first.as_slice(), second.as_slice()]), Ok(2));
        assert!(verify_chain([record(1, "", "changed").as_slice(), second.as_slice()]).is_err());
        assert!(verify_chain([first.as_slice(), record(3, &hash, "c").as_slice()]).is_err());
    }
}
