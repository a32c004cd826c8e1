//! What all changes have in common: they are logged, and committed before they are answered.

use jq_api::server::{Action, Changed};
use jq_engine::{Engine, Nanos, Refusal, Sink};
use jq_http::Peer;
use tracing::info;

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::extract::Change;

/// A change with no more to say than what was done.
pub(crate) fn changed(action: Action, changed: u64) -> Changed {
    Changed { action, changed, job: None, tube: None, connection: None }
}

impl Change {
    /// Makes a change, logs it, and answers with it when it is committed. `what` names what it is
    /// about: "job 7".
    pub(crate) async fn make(
        &self,
        what: &str,
        peer: Option<&Peer>,
        change: impl FnOnce(&mut Engine, &mut dyn Sink, Nanos) -> Result<Changed, Refusal>,
    ) -> Answer {
        let (changed, gated) = self.hub.change(change);
        let changed = changed.map_err(|refusal| Failure::refused(&self.hub, refusal, what))?;
        // Before it is committed: the client may be gone by then, and nobody waits for it here.
        self.log(what, peer, &changed);
        self.hub.committed(gated).await.map_err(|_| Failure::not_committed(&self.hub))?;
        ok(&changed)
    }

    /// Logs what was done and by whom.
    pub(crate) fn log(&self, what: &str, peer: Option<&Peer>, changed: &Changed) {
        let action = serde_json::to_value(changed.action).unwrap_or_default();
        info!(
            token = &*self.who.name,
            peer = peer.map_or("", |Peer(address)| address),
            action = action.as_str(),
            changed = changed.changed,
            "by HTTP: {what}"
        );
    }
}
