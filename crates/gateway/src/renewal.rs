//! What was waited for may have changed what is in force.
//!
//! A body may come long after its head, a server may have to be started, a person's word to be used up.
//! Whoever was stopped meanwhile makes no call: after each such wait the registry and the time of now
//! are taken, and what the request rests on is asked again. Where nothing changed it costs two loads.

use std::sync::Arc;

use attorn_planted::{Bug, is_planted};
use http::request;

use crate::exchange::{Caller, Exchange};
use crate::possession;
use crate::refusal::{HeadRefusal, Refusal};

impl Exchange {
    /// Takes what is in force now. Says whether that is something else than before, so that what was
    /// decided has to be decided again.
    ///
    /// The proof is not asked for again: it was for this request, and is burned.
    ///
    /// # Errors
    /// The authority is silent, the server is gone, or the token or its certificate do not count any more.
    pub(crate) fn renew(
        &mut self,
        head: &request::Parts,
        caller: &Caller,
    ) -> Result<bool, Refusal> {
        let gateway = Arc::clone(&self.gateway);
        if !gateway.freshness.is_fresh() && !is_planted(Bug::SilenceIgnored) {
            return Err(Refusal::AuthorityStale);
        }
        let (view, now_s) = (gateway.views.current(), gateway.clock.now_ms() / 1000);
        if Arc::ptr_eq(&view, &self.view) && now_s == self.now_s {
            return Ok(false);
        }
        (self.view, self.now_s) = (Arc::clone(&view), now_s);
        let server = view.server(&self.server_name).ok_or(HeadRefusal::PathUnknown)?;
        gateway.tokens.verify_again(&caller.token, server, &view, now_s)?;
        if caller.certificate.is_some() {
            possession::bound(head, caller.token.clone(), &view.snapshot, now_s).map(drop)?;
        }
        Ok(true)
    }

    /// Whether the registry and the authority are what they were when the request was decided.
    pub(crate) fn is_as_before(&self) -> bool {
        let gateway = &self.gateway;
        gateway.freshness.is_fresh() && Arc::ptr_eq(&gateway.views.current(), &self.view)
    }

    /// Whether the caller may still be here, where a decision need not be made again.
    ///
    /// # Errors
    /// As [`Exchange::renew`], and when caller or server were stopped.
    pub(crate) fn stand_again(
        &mut self,
        head: &request::Parts,
        caller: &Caller,
    ) -> Result<(), Refusal> {
        if self.renew(head, caller)? {
            let server = self.server().ok_or(HeadRefusal::PathUnknown)?;
            let _standing = caller.verify_standing(&self.view, server, self.now_s)?;
        }
        Ok(())
    }
}
