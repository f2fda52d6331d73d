//! The tokens of the rows, and what the gateway that is asked knows of them.

use std::cell::RefCell;
use std::time::Duration;

use attorn_testkit::wire::RawReply;
use serde_json::json;

use super::super::modes::Cache;
use super::super::nodes::Node;
use super::{Identity, World};
use crate::agent::now_s;
use crate::step::StepFailed;

/// How many tokens were presented just before the case that they are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::negative) struct Warmth {
    /// The gateway took them.
    pub(in crate::negative) taken: usize,
    /// It takes them nowhere: what is wrong with them is what the case is about.
    pub(in crate::negative) refused: usize,
}

impl World {
    /// A real token of an agent, fetched again before it ends.
    pub(in crate::negative) fn token(
        &self,
        agent: &Identity,
        server: &str,
    ) -> Result<String, StepFailed> {
        let mut tokens = self.tokens.borrow_mut();
        let key = (agent.client_id.clone(), server.to_owned());
        if let Some((token, until)) = tokens.get(&key)
            && *until > now_s()
        {
            return Ok(token.clone());
        }
        let scope = (server == "canary").then_some("read:echo read:param_tool read:drifting");
        let token = agent.token(server, scope)?;
        tokens.insert(key, (token.clone(), now_s() + 60));
        Ok(token)
    }

    /// Forgets every token: commands of the operator may have stopped somebody, and a token from
    /// before a stop does not count after it. Waits for the next second, since what is forged there
    /// is dated with whole ones.
    pub(in crate::negative) fn forget_tokens(&self) {
        self.tokens.borrow_mut().clear();
        self.nodes.iter().for_each(Node::forget_token);
        let second = now_s();
        while now_s() == second {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Begins a case: where the gateway must not have seen its token, the next one is new.
    pub(in crate::negative) fn begin(&self) -> Result<(), StepFailed> {
        if self.combination.cache == Cache::Cold && !self.is_keeping.get() {
            self.tokens.borrow_mut().clear();
        }
        self.nodes.iter().try_for_each(Node::begin)
    }

    /// Begins a row: what one of its cases takes back, the next one may present.
    pub(in crate::negative) fn begin_row(&self, is_keeping: bool) {
        self.is_keeping.set(is_keeping);
        self.tokens.borrow_mut().clear();
    }

    /// A token of alpha for the canary that the authority issued, to make others from.
    pub(in crate::negative) fn model(&self) -> Result<String, StepFailed> {
        let mut model = self.model.borrow_mut();
        if model.1 <= now_s() {
            *model = (self.identity("alpha")?.token("canary", None)?, now_s() + 60);
        }
        Ok(model.0.clone())
    }

    /// Has the gateway take a token just before the case, where the combination is a warm one.
    ///
    /// # Errors
    /// When it does not take it although it `must`.
    pub(in crate::negative) fn warm(
        &self,
        (agent, server): (&Identity, &str),
        token: &str,
        must: bool,
    ) -> Result<(), StepFailed> {
        if self.combination.cache == Cache::Cold {
            return Ok(());
        }
        let list = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/list",
            "params": {"_meta": crate::agent::meta()}
        });
        let request = agent.request(token, server, &list, &self.gateway_nonce()?)?;
        let reply = self.send("list", &request)?;
        self.learn_nonce("list", &reply);
        let is_taken = reply.status == 200 && !reply.text().contains("\"error\"");
        let Warmth { taken, refused } = self.warmth.get();
        self.warmth.set(Warmth {
            taken: taken + usize::from(is_taken),
            refused: refused + usize::from(!is_taken),
        });
        if must && !is_taken {
            let (status, text) = (reply.status, reply.text());
            return Err(StepFailed::Check(format!("a right token is not taken: {status} {text}")));
        }
        Ok(())
    }

    /// How many tokens were presented just before their case.
    pub(in crate::negative) fn warmth(&self) -> Warmth {
        self.warmth.get()
    }

    /// Whether tokens last for the row.
    pub(in crate::negative) fn is_keeping(&self) -> bool {
        self.is_keeping.get()
    }

    /// The newest nonce of the gateway that is asked; the first one is asked for.
    pub(in crate::negative) fn gateway_nonce(&self) -> Result<String, StepFailed> {
        self.nonce("list", &self.node()?.nonce)
    }

    pub(in crate::negative) fn authority_nonce(&self) -> Result<String, StepFailed> {
        self.nonce("token", &self.authority_nonce)
    }

    fn nonce(&self, base: &str, known: &Nonce) -> Result<String, StepFailed> {
        if let Some(nonce) = known.usable(now_s()) {
            return Ok(nonce);
        }
        let agent = self.identity("beta")?;
        let request = if base == "token" {
            agent.token_request_with("canary", Some("read:echo"), "")?
        } else {
            // A token of its own: those of the cases stay unseen.
            let token = agent.token("canary", None)?;
            agent.call_request(&token, "canary", "echo", &json!({}), "")?
        };
        let reply = self.send(base, &request)?;
        self.learn_nonce(base, &reply);
        known.usable(now_s()).ok_or_else(|| {
            let (status, text) = (reply.status, reply.text());
            StepFailed::Check(format!("no nonce: {status} {text}"))
        })
    }
}

/// The newest nonce of one issuer of them.
#[derive(Debug, Default)]
pub(in crate::negative) struct Nonce(RefCell<(String, u64)>);

impl Nonce {
    /// Keeps the nonce of a reply, if it has one.
    pub(in crate::negative) fn learn(&self, reply: &RawReply) {
        if let Some(fresh) = reply.header("dpop-nonce") {
            *self.0.borrow_mut() = (fresh.to_owned(), now_s());
        }
    }

    fn usable(&self, now_s: u64) -> Option<String> {
        let known = self.0.borrow();
        let (nonce, since_s) = &*known;
        (!nonce.is_empty() && now_s < since_s + NONCE_S).then(|| nonce.clone())
    }
}

/// A nonce lasts a minute.
const NONCE_S: u64 = 45;
