//! What all changes have in common: they are committed before they are answered, and logged.

use jq_api::server::Changed;
use jq_engine::{Engine, Nanos, Refusal, Sink};
use jq_http::Peer;
use tracing::info;

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::extract::Change;

/// A change with no more to say than what was done.
pub(crate) fn changed(action: jq_api::server::Action, changed: u64) -> Changed {
    Changed { action, changed, job: None, tube: None, connection: None }
}

impl Change {
    /// Makes a change, and waits until it is committed. `what` names what it is about: "job 7".
    pub(crate) async fn make<T>(
        &self,
        what: &str,
        change: impl FnOnce(&mut Engine, &mut dyn Sink, Nanos) -> Result<T, Refusal>,
    ) -> Result<T, Failure> {
        let (result, gated) = self.hub.change(change);
        let result = result.map_err(|refusal| Failure::refused(&self.hub, refusal, what))?;
        self.hub.committed(gated).await.map_err(|_| Failure::not_committed(&self.hub))?;
        Ok(result)
    }

    /// Logs what was done and by whom, and answers with it.
    pub(crate) fn done(&self, what: &str, peer: Option<&Peer>, changed: &Changed) -> Answer {
        let action = serde_json::to_value(changed.action).unwrap_or_default();
        info!(
            token = &*self.who.name,
            peer = peer.map_or("", |Peer(address)| address),
            action = action.as_str(),
            changed = changed.changed,
            "by HTTP: {what}"
        );
        ok(changed)
    }
}
