//! Token exchange: RFC 8693, an MCP server's way to a token of its own for the API behind it.

use attorn_authority::{Limits, Operation};
use attorn_jose::{SigningKey, sha256};
use attorn_net::Rate;
use attorn_oauth::access_token::{self, AccessTokenClaims};
use attorn_oauth::actor::Actor;
use attorn_oauth::client_assertion::{ASSERTION_TYPE, NewAssertion, new_assertion};
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::evidence::{APPROVAL_EVIDENCE, EvidenceFor, EvidenceKey};
use attorn_oauth::subject::Subject;
use attorn_oauth::token_request::{ACCESS_TOKEN, TOKEN_EXCHANGE};
use attorn_registry::{
    AgentId, ApprovalCall, ApprovalId, ApprovalTerms, AskedCall, DecisionId, ResourceId, ScopeSet,
    ServerId, approval_arguments,
};
use http::StatusCode;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::world::{Answer, CRM, Client, ISSUER, World, form_request, new_key};

pub(crate) const BILLING: &str = "https://api.example/billing";

/// `crm` with a key of its own, the API behind it, and an agent that may read.
pub(crate) struct Chain {
    pub(crate) world: World,
    pub(crate) operator: Client,
    pub(crate) agent: Client,
    /// The server: its identifier and its key.
    pub(crate) server: ServerId,
    pub(crate) key: SigningKey,
}

pub(crate) type Form = Vec<(&'static str, String)>;

impl Chain {
    pub(crate) async fn new() -> Self {
        Self::with(&["read:get"]).await
    }

    pub(crate) async fn with(patterns: &[&str]) -> Self {
        Self::at(World::new().await, patterns).await
    }

    async fn at(world: World, patterns: &[&str]) -> Self {
        let operator = world.operator().await;
        world.crm(&operator).await;
        let agent = world.agent(&operator, "billing-agent", patterns).await;
        let key = new_key();
        let jwk = json!({ "jwk": key.public().to_jwk(None) });
        world.done(&operator, Operation::ServerKey, &["crm"], jwk).await;
        let new = json!({ "name": "billing", "owner": "sales", "url": BILLING });
        world.done(&operator, Operation::ResourceRegister, &[], new).await;
        for (id, class, method, path) in [
            ("invoice.get", "read", "GET", "/invoices/{id}"),
            ("invoice.pay", "write", "POST", "/invoices/{id}/pay"),
        ] {
            let new = json!({ "id": id, "class": class, "method": method, "path": path });
            world.done(&operator, Operation::ResourceOperationAdd, &["billing"], new).await;
        }
        let rule = json!({ "resource": "billing", "from": "read:get", "to": "read:invoice.get" });
        world.done(&operator, Operation::ServerDownstreamAllow, &["crm"], rule).await;
        let server = world.published.load().server_named("crm").unwrap().id.clone();
        Self { world, operator, agent, server, key }
    }

    pub(crate) fn assertion(&self, key: &SigningKey) -> String {
        let jti = attorn_jose::base64url(&sha256(new_key().public().to_jwk(None).as_bytes()));
        let now_s = self.world.now_s();
        let new = NewAssertion { client_id: &self.server, issuer: ISSUER, now_s, jti: &jti };
        new_assertion(key, &new).unwrap()
    }

    /// The server as the helpers of the world know clients: only its key matters to them.
    fn prover(&self) -> Client {
        Client { id: AgentId::from_random(&[9; 16]), key: self.key.clone() }
    }

    /// The proof that the agent's token came with at the gateway.
    pub(crate) fn evidence(&self, holder: &Client, token: &str) -> String {
        self.world.proof_for(holder, ("POST", CRM), Some(token), Some("minted-by-the-gateway"))
    }

    /// A form with everything right.
    pub(crate) fn form(&self, token: &str) -> Form {
        vec![
            ("grant_type", TOKEN_EXCHANGE.to_owned()),
            ("client_assertion_type", ASSERTION_TYPE.to_owned()),
            ("client_assertion", self.assertion(&self.key)),
            ("subject_token", token.to_owned()),
            ("subject_token_type", ACCESS_TOKEN.to_owned()),
            ("subject_token_proof", self.evidence(&self.agent, token)),
            ("resource", BILLING.to_owned()),
        ]
    }

    pub(crate) async fn send(&self, form: &Form) -> Answer {
        self.send_proven(form, &self.prover()).await
    }

    async fn send_proven(&self, form: &Form, prover: &Client) -> Answer {
        let nonce = self.world.nonce(&self.agent).await;
        let proof = self.world.proof(prover, Some(&nonce));
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.world.public(form_request("/token", &form, Some(&proof))).await
    }

    pub(crate) async fn exchange(&self, token: &str) -> Answer {
        self.send(&self.form(token)).await
    }

    /// A call of a tool that cannot be undone, for which somebody is asked.
    async fn asked(&self) -> (AskedCall, ApprovalId) {
        let (arguments, digest) = approval_arguments(Some(r#"{"id":1}"#)).unwrap();
        let call = ApprovalCall {
            agent: self.agent.id.clone(),
            subject: self.agent.id.to_string(),
            server: self.server.clone(),
            tool: "drop".to_owned(),
            definition: sha256(br#"{"name":"drop"}"#),
            arguments: digest,
            terms: ApprovalTerms::default(),
        };
        let decision = DecisionId::from_random(&[5; 16]).to_string();
        let (actors, trace_id, named) = (None, None, None);
        let asked = AskedCall { call, arguments, actors, decision, trace_id, named };
        let answer = self.world.authority.ask_approval("gateway", asked.clone()).await.unwrap();
        (asked, answer.approval.unwrap())
    }

    /// Somebody says yes, and the gateway lets the call through.
    pub(crate) async fn approved(&self) -> ApprovalId {
        let (asked, id) = self.asked().await;
        let body = json!({ "reason": "looked at it" });
        self.world.done(&self.operator, Operation::ApprovalApprove, &[id.as_str()], body).await;
        let (given, decision) = ((&id, &asked.call), DecisionId::from_random(&[7; 16]));
        let used = self.world.authority.use_approval("gateway", given, decision.as_str()).await;
        assert_eq!(used.unwrap(), Ok(()));
        id
    }

    /// What the way out of the same process says of an approval and a token.
    pub(crate) fn vouched(&self, id: &ApprovalId, token: &str) -> String {
        let of = EvidenceFor { server: &self.server, subject_token: &sha256(token.as_bytes()) };
        self.world.authority.evidence_key().vouch_approval(id, of)
    }

    pub(crate) async fn agent_token(&self) -> String {
        self.world.token(&self.agent, CRM).await
    }

    /// What is refused, and for which reason; and that a right one passes afterwards.
    pub(crate) async fn refused(&self, form: &Form) -> (u16, String, String) {
        let answer = self.send(form).await;
        let entry = self.world.newest("token.refused").await;
        let (status, error) = answer.refusal();
        (status, error.to_owned(), entry["reason"].as_str().unwrap().to_owned())
    }

    /// A token under the authority's own key, with claims that nobody would be given.
    pub(crate) fn forged(&self, change: impl FnOnce(&mut AccessTokenClaims)) -> String {
        let (now_s, id) = (self.world.now_s(), self.agent.id.clone());
        let mut claims = AccessTokenClaims {
            act: None,
            attorn_approval: None,
            aud: CRM.to_owned(),
            authorization_details: None,
            client_id: id.clone(),
            cnf: Confirmation::Jkt(self.agent.key.public().thumbprint()),
            epoch: self.world.published.load().epoch,
            exp: now_s + 120,
            grt: None,
            iat: now_s,
            iss: ISSUER.to_owned(),
            jti: "forged".to_owned(),
            nbf: now_s,
            parent: None,
            scope: ScopeSet::parse("read:get").unwrap(),
            sub: Subject::Agent(id),
        };
        change(&mut claims);
        let (kid, signer) = self.world.signing_key();
        access_token::issue(&claims, &kid, &signer).unwrap()
    }
}

pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&attorn_jose::from_base64url(payload).unwrap()).unwrap()
}

pub(crate) fn set(form: &mut Form, name: &'static str, value: &str) {
    form.retain(|(found, _)| *found != name);
    form.push((name, value.to_owned()));
}

pub(crate) fn without(form: &Form, name: &str) -> Form {
    form.iter().filter(|(found, _)| *found != name).cloned().collect()
}

pub(crate) fn told(refused: &(u16, String, String)) -> (u16, &str, &str) {
    (refused.0, &refused.1, &refused.2)
}

#[tokio::test]
async fn an_exchanged_token_is_for_the_api_and_bound_to_the_server() {
    let chain = Chain::new().await;
    let parent = chain.agent_token().await;
    let answer = chain.exchange(&parent).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.body["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(answer.body["token_type"], "DPoP");
    assert_eq!(answer.body["scope"], "read:invoice.get");
    assert!(answer.body.get("refresh_token").is_none());
    let (old, new) = (claims(&parent), claims(answer.text("access_token")));
    assert_eq!(new["aud"], BILLING);
    assert_eq!(new["sub"], old["sub"]);
    assert_eq!(new["client_id"], chain.server.as_str());
    assert_eq!(new["act"], json!({ "sub": chain.server.as_str() }));
    assert_eq!(new["cnf"]["jkt"], chain.key.public().thumbprint().to_string());
    assert_eq!(new["parent"]["jti"], old["jti"]);
    assert_eq!(new["parent"]["key"], old["cnf"]["jkt"]);
    assert!(new["exp"].as_u64() <= old["exp"].as_u64());
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!(entry["token_jti"], old["jti"]);
    assert_eq!(entry["exchanged_jti"], new["jti"]);
    assert_eq!(entry["agent"], chain.agent.id.as_str());
    assert_eq!(entry["server"], chain.server.as_str());
    assert_eq!(entry["actor_chain"], chain.server.as_str());
}

#[tokio::test]
async fn the_subject_token_is_required_and_of_one_type() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let right = chain.form(&token);
    let malformed = (400, "invalid_request", "request.malformed");
    for missing in ["subject_token", "subject_token_type"] {
        assert_eq!(told(&chain.refused(&without(&right, missing)).await), malformed, "{missing}");
    }
    for (name, value) in [
        ("subject_token", ""),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:id-jag"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:saml2"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ] {
        let mut form = right.clone();
        set(&mut form, name, value);
        assert_eq!(told(&chain.refused(&form).await), malformed, "{name} {value}");
    }
    let mut twice = right.clone();
    twice.push(("subject_token", token.clone()));
    assert_eq!(told(&chain.refused(&twice).await), malformed);
    let mut named = right;
    named.push(("requested_token_type", ACCESS_TOKEN.to_owned()));
    assert_eq!(chain.send(&named).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_subject_token_in_the_query_is_none() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let form = without(&chain.form(&token), "subject_token");
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let nonce = chain.world.nonce(&chain.agent).await;
    let proof = chain.world.proof(&chain.prover(), Some(&nonce));
    let path = format!("/token?subject_token={token}");
    let answer = chain.world.public(form_request(&path, &form, Some(&proof))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert!(answer.body.get("access_token").is_none());
}

#[tokio::test]
async fn other_tokens_under_its_name_do_not_verify() {
    let chain = Chain::new().await;
    let right = chain.agent_token().await;
    let assertion = chain.world.assertion(&chain.agent);
    let proof = chain.evidence(&chain.agent, &right);
    for text in [assertion.as_str(), proof.as_str(), "a.b.c", "opaque"] {
        let refused = chain.refused(&chain.form(text)).await;
        assert_eq!((refused.0, refused.1.as_str()), (400, "invalid_grant"), "{text}");
    }
    // An exchanged token is for the API, and not for the server any more.
    let exchanged = chain.exchange(&right).await;
    let again = chain.refused(&chain.form(exchanged.text("access_token"))).await;
    assert_eq!(told(&again), (400, "invalid_grant", "token.audience"));
}

#[tokio::test]
async fn the_subject_token_is_for_whoever_exchanges_it() {
    let chain = Chain::new().await;
    let other = chain.world.token(&chain.operator, "https://admin.example/admin").await;
    let mut form = chain.form(&other);
    set(&mut form, "subject_token_proof", &chain.evidence(&chain.operator, &other));
    let audience = (400, "invalid_grant", "token.audience");
    assert_eq!(told(&chain.refused(&form).await), audience);
    let elsewhere = chain.forged(|claims| claims.aud = "https://gw.example/erp/mcp".to_owned());
    assert_eq!(told(&chain.refused(&chain.form(&elsewhere)).await), audience);
    let foreign = chain.forged(|claims| claims.iss = "https://other.example".to_owned());
    let issuer = (400, "invalid_grant", "token.issuer");
    assert_eq!(told(&chain.refused(&chain.form(&foreign)).await), issuer);
    let twin = chain.forged(|_| ());
    assert_eq!(chain.exchange(&twin).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_dead_subject_token_gives_nothing() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let jti = claims(&token)["jti"].as_str().unwrap().to_owned();
    let lock = |target: Value| json!({ "target": target, "reason": "test" });
    for (target, key) in [
        (json!({ "kind": "token", "jti": jti }), "token"),
        (json!({ "kind": "agent", "agent": "billing-agent" }), "agent"),
        (json!({ "kind": "key", "jkt": chain.agent.key.public().thumbprint().to_string() }), "key"),
    ] {
        // The nonce is got before: a locked agent gets none.
        let form = chain.form(&token);
        let nonce = chain.world.nonce(&chain.agent).await;
        let set = chain.world.done(&chain.operator, Operation::LockCreate, &[], lock(target)).await;
        let proof = chain.world.proof(&chain.prover(), Some(&nonce));
        let sent: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = chain.world.public(form_request("/token", &sent, Some(&proof))).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant"), "{key}");
        assert_eq!(chain.world.newest("token.refused").await["reason"], "lock.active", "{key}");
        let reason = json!({ "reason": "test" });
        let id = set["id"].as_str().unwrap();
        chain.world.done(&chain.operator, Operation::LockLift, &[id], reason).await;
    }
    // The stops have ended, and a token from before them does not count again.
    let stopped = chain.refused(&chain.form(&token)).await;
    assert_eq!(told(&stopped), (400, "invalid_grant", "token.stopped"));
    let token = chain.agent_token().await;
    assert_eq!(chain.exchange(&token).await.status, StatusCode::OK);
    chain.world.pass_s(125);
    let ended = chain.refused(&chain.form(&token)).await;
    assert_eq!(told(&ended), (400, "invalid_grant", "token.expired"));
}

#[tokio::test]
async fn a_revoked_token_or_grant_gives_nothing() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let grants = chain.world.done(&chain.operator, Operation::GrantList, &[], json!({})).await;
    let of_agent = |grant: &&Value| grant["server"] == "crm";
    let grant = grants["items"].as_array().unwrap().iter().find(of_agent).unwrap().clone();
    let id = grant["id"].as_str().unwrap();
    let reason = json!({ "reason": "test" });
    chain.world.done(&chain.operator, Operation::GrantRevoke, &[id], reason).await;
    let taken = chain.refused(&chain.form(&token)).await;
    assert_eq!(told(&taken), (400, "invalid_grant", "scope.missing"));
}

#[tokio::test]
async fn without_the_proof_it_came_with_a_token_is_worth_nothing() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let right = chain.form(&token);
    let evidence = (400, "invalid_grant", "delegation.evidence");
    let missing = chain.refused(&without(&right, "subject_token_proof")).await;
    assert_eq!(told(&missing), evidence);
    let other = chain.agent_token().await;
    let thief = Client { id: chain.agent.id.clone(), key: new_key() };
    let world = &chain.world;
    for (name, proof) in [
        ("another key", chain.evidence(&thief, &token)),
        ("the server's own key", chain.evidence(&chain.prover(), &token)),
        ("another token", chain.evidence(&chain.agent, &other)),
        ("no token", world.proof_for(&chain.agent, ("POST", CRM), None, None)),
        ("another method", world.proof_for(&chain.agent, ("GET", CRM), Some(&token), None)),
        ("another place", world.proof_for(&chain.agent, ("POST", BILLING), Some(&token), None)),
        ("no proof at all", token.clone()),
    ] {
        let mut form = chain.form(&token);
        set(&mut form, "subject_token_proof", &proof);
        assert_eq!(told(&chain.refused(&form).await), evidence, "{name}");
    }
    let old = chain.form(&token);
    chain.world.pass_s(61);
    let mut late = chain.form(&token);
    let proof = &old.iter().find(|(name, _)| *name == "subject_token_proof").unwrap().1;
    set(&mut late, "subject_token_proof", proof);
    assert_eq!(told(&chain.refused(&late).await), evidence);
    assert_eq!(chain.exchange(&token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_target_is_one_api_that_the_server_may_reach() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let other = json!({ "name": "other", "owner": "sales", "url": "https://api.example/other" });
    chain.world.done(&chain.operator, Operation::ResourceRegister, &[], other).await;
    let target = (400, "invalid_target", "exchange.target");
    for resource in [
        "https://api.example/unknown",
        "https://api.example/other",
        "https://api.example/billing/",
        "https://API.example/billing",
        "https://admin.example/admin",
        CRM,
        "urn:billing",
    ] {
        let mut form = chain.form(&token);
        set(&mut form, "resource", resource);
        assert_eq!(told(&chain.refused(&form).await), target, "{resource}");
    }
    let mut two = chain.form(&token);
    two.push(("resource", BILLING.to_owned()));
    assert_eq!(told(&chain.refused(&two).await), target);
    let mut audience = chain.form(&token);
    audience.push(("audience", "billing".to_owned()));
    assert_eq!(told(&chain.refused(&audience).await), target);
    assert_eq!(told(&chain.refused(&without(&chain.form(&token), "resource")).await), target);
}

#[tokio::test]
async fn a_closed_api_looks_like_one_that_does_not_exist() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let reason = json!({ "reason": "test" });
    let suspend = Operation::ResourceSuspend;
    chain.world.done(&chain.operator, suspend, &["billing"], reason).await;
    let closed = chain.send(&chain.form(&token)).await;
    let mut form = chain.form(&token);
    set(&mut form, "resource", "https://api.example/unknown");
    let unknown = chain.send(&form).await;
    assert_eq!((closed.status, &closed.body), (unknown.status, &unknown.body));
    let refused = chain.refused(&chain.form(&token)).await;
    assert_eq!(told(&refused), (400, "invalid_target", "resource.suspended"));
    chain.world.done(&chain.operator, Operation::ResourceResume, &["billing"], json!({})).await;
    let lock = json!({ "target": { "kind": "resource", "resource": "billing" }, "reason": "test" });
    chain.world.done(&chain.operator, Operation::LockCreate, &[], lock).await;
    let refused = chain.refused(&chain.form(&token)).await;
    assert_eq!(told(&refused), (400, "invalid_target", "lock.active"));
}

#[tokio::test]
async fn the_scope_is_what_the_rules_give_for_the_subject_token() {
    let chain = Chain::with(&["read:*", "irreversible:drop"]).await;
    let token = chain.agent_token().await;
    let asked = async |scope: &str| {
        let mut form = chain.form(&token);
        form.push(("scope", scope.to_owned()));
        chain.send(&form).await
    };
    // Omitted: what the rules give, and never all that the API has.
    assert_eq!(chain.exchange(&token).await.body["scope"], "read:invoice.get");
    let wide = asked("read:invoice.get write:invoice.pay").await;
    assert_eq!(wide.body["scope"], "read:invoice.get");
    for scope in ["write:invoice.pay", "irreversible:drop", "read:get", "read:unknown"] {
        assert_eq!(asked(scope).await.refusal(), (400, "invalid_scope"), "{scope}");
        assert_eq!(chain.world.newest("token.refused").await["reason"], "exchange.scope");
    }
    for scope in ["read:*", "*", "admin"] {
        assert_eq!(asked(scope).await.refusal(), (400, "invalid_scope"), "{scope}");
    }
}

#[tokio::test]
async fn a_token_without_the_right_at_the_server_gives_nothing() {
    let chain = Chain::with(&["read:*", "irreversible:drop"]).await;
    let answer = chain.world.ask_token(&chain.agent, Some(CRM), Some("irreversible:drop")).await;
    let refused = chain.refused(&chain.form(answer.text("access_token"))).await;
    assert_eq!(told(&refused), (400, "invalid_scope", "exchange.scope"));
}

#[tokio::test]
async fn a_rule_that_is_taken_back_ends_the_exchange() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let rule = json!({ "resource": "billing", "from": "read:get", "to": "read:invoice.get" });
    let remove = Operation::ServerDownstreamRemove;
    chain.world.done(&chain.operator, remove, &["crm"], rule).await;
    let refused = chain.refused(&chain.form(&token)).await;
    assert_eq!(told(&refused), (400, "invalid_target", "exchange.target"));
}

#[tokio::test]
async fn an_owner_sees_what_a_request_would_be() {
    let chain = Chain::new().await;
    let ask = async |query: &str| {
        let token = chain.world.token(&chain.operator, "https://admin.example/admin").await;
        let path = Operation::ResourceMatch.path_of(&["billing"]);
        let nonce = chain.world.nonce(&chain.operator).await;
        let place = ("GET", format!("https://admin.example{path}"));
        let place = (place.0, place.1.as_str());
        let proof = chain.world.proof_for(&chain.operator, place, Some(&token), Some(&nonce));
        let request = http::Request::get(format!("{path}?{query}"))
            .header("authorization", format!("DPoP {token}"))
            .header("dpop", proof)
            .body(Full::default());
        chain.world.admin(request.unwrap()).await.body
    };
    let found = ask("method=GET&path=/invoices/7").await;
    assert_eq!(
        (&found["operation"], &found["needed"]),
        (&json!("invoice.get"), &json!("read:invoice.get"))
    );
    let dots = ask("method=GET&path=/invoices/7/../8").await;
    assert_eq!((&dots["operation"], &dots["plain_path"]), (&Value::Null, &json!(false)));
    assert_eq!(ask("method=DELETE&path=/invoices/7").await["operation"], Value::Null);
}

#[tokio::test]
async fn nobody_brings_an_actor() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let right = chain.form(&token);
    let pair = (400, "invalid_request", "request.malformed");
    for (name, value) in [("actor_token", token.as_str()), ("actor_token_type", ACCESS_TOKEN)] {
        let mut form = right.clone();
        form.push((name, value.to_owned()));
        assert_eq!(told(&chain.refused(&form).await), pair, "{name}");
    }
    for actor in [token.as_str(), &chain.assertion(&chain.key), "expired"] {
        let mut form = right.clone();
        form.push(("actor_token", actor.to_owned()));
        form.push(("actor_token_type", ACCESS_TOKEN.to_owned()));
        let refused = chain.refused(&form).await;
        assert_eq!(told(&refused), (400, "invalid_grant", "delegation.not_allowed"));
    }
}

#[tokio::test]
async fn what_a_client_says_of_the_chain_is_not_read() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let mut form = chain.form(&token);
    for (name, value) in [
        ("act", r#"{"sub":"agt_root"}"#),
        ("may_act", r#"{"sub":"srv_x"}"#),
        ("sub", "agt_root"),
        ("azp", "agt_root"),
    ] {
        form.push((name, value.to_owned()));
    }
    let answer = chain.send(&form).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let new = claims(answer.text("access_token"));
    assert_eq!(new["sub"], chain.agent.id.as_str());
    assert_eq!(new["act"], json!({ "sub": chain.server.as_str() }));
    assert!(new.get("azp").is_none() && new.get("may_act").is_none());
    // Signed by a client: not ours, whatever it says.
    let own = attorn_jose::NewHeader { typ: "at+jwt", kid: None, jwk: false };
    let said = json!({ "sub": "agt_root", "act": { "sub": "srv_x" } }).to_string();
    let signed = attorn_jose::sign(&own, said.as_bytes(), &chain.agent.key).unwrap();
    let refused = chain.refused(&chain.form(&signed)).await;
    assert_eq!((refused.0, refused.1.as_str()), (400, "invalid_grant"));
}

#[tokio::test]
async fn the_chain_grows_outermost_and_not_for_ever() {
    let chain = Chain::new().await;
    let actor =
        |sub: &str, act: Option<Actor>| Actor { act: act.map(Box::new), sub: sub.to_owned() };
    let with = |act: Actor| chain.forged(|claims| claims.act = Some(act));
    let three = actor("agt_c", Some(actor("agt_b", Some(actor("agt_a", None)))));
    let answer = chain.exchange(&with(three.clone())).await;
    let act = &claims(answer.text("access_token"))["act"];
    assert_eq!(act["sub"], chain.server.as_str());
    assert_eq!(act["act"]["act"]["act"]["sub"], "agt_a");
    let four = with(actor("agt_d", Some(three)));
    let deep = chain.refused(&chain.form(&four)).await;
    assert_eq!(told(&deep), (400, "invalid_request", "delegation.depth"));
    let cycle = with(actor("agt_b", Some(actor(chain.server.as_str(), None))));
    let again = chain.refused(&chain.form(&cycle)).await;
    assert_eq!(told(&again), (400, "invalid_request", "delegation.not_allowed"));
}

#[tokio::test]
async fn an_exchanged_token_ends_with_its_parent() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    chain.world.pass_s(90);
    let mut form = chain.form(&token);
    form.push(("expires_in", "3600".to_owned()));
    let answer = chain.send(&form).await;
    assert_eq!(answer.body["expires_in"], 30, "{answer:?}");
    assert_eq!(claims(answer.text("access_token"))["exp"], claims(&token)["exp"]);
}

#[tokio::test]
async fn only_the_server_s_own_key_exchanges() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let client = (401, "invalid_client", "client.authentication");
    for assertion in [chain.assertion(&new_key()), chain.world.assertion(&chain.agent)] {
        let mut form = chain.form(&token);
        set(&mut form, "client_assertion", &assertion);
        assert_eq!(told(&chain.refused(&form).await), client);
    }
    // A server's key is no way to an agent's token.
    let mut form = chain.form(&token);
    set(&mut form, "grant_type", "client_credentials");
    set(&mut form, "resource", CRM);
    assert_eq!(told(&chain.refused(&form).await), client);
    let reason = json!({ "reason": "test" });
    chain.world.done(&chain.operator, Operation::ServerSuspend, &["crm"], reason).await;
    let nonce = chain.world.nonce(&chain.operator).await;
    let proof = chain.world.proof(&chain.prover(), Some(&nonce));
    let form = chain.form(&token);
    let sent: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = chain.world.public(form_request("/token", &sent, Some(&proof))).await;
    assert_eq!(answer.refusal(), (401, "invalid_client"));
    assert_eq!(chain.world.newest("token.refused").await["reason"], "server.suspended");
}

#[tokio::test]
async fn the_new_token_is_bound_to_the_server_s_key_and_to_no_other() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    for key in [new_key(), chain.agent.key.clone()] {
        let prover = Client { id: chain.agent.id.clone(), key };
        let answer = chain.send_proven(&chain.form(&token), &prover).await;
        assert_eq!(answer.refusal(), (400, "invalid_dpop_proof"));
        let entry = chain.world.newest("token.refused").await;
        assert_eq!(entry["reason"], "possession.key_mismatch");
    }
    assert_eq!(chain.exchange(&token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_right_that_is_limited_by_arguments_ends_at_the_server() {
    let chain = Chain::with(&["irreversible:drop"]).await;
    let free = json!({"agent": "billing-agent", "server": "crm", "patterns": ["read:get"]});
    let mut once = free.clone();
    let arguments = json!({"type": "object"});
    once["constraints"] =
        json!([{"type": "mcp_tool_call", "tool": "get", "arguments": arguments, "max_calls": 1}]);
    chain.world.done(&chain.operator, Operation::GrantCreate, &[], once).await;
    let limited = chain.agent_token().await;
    assert!(claims(&limited)["authorization_details"].is_array());
    let refused = chain.refused(&chain.form(&limited)).await;
    assert_eq!(told(&refused), (400, "invalid_scope", "exchange.scope"));
    // A grant without limits frees the tool; what the token itself limits stays limited.
    chain.world.done(&chain.operator, Operation::GrantCreate, &[], free).await;
    let free = chain.agent_token().await;
    assert_eq!(chain.exchange(&free).await.body["scope"], "read:invoice.get");
    let refused = chain.refused(&chain.form(&limited)).await;
    assert_eq!(told(&refused), (400, "invalid_scope", "exchange.scope"));
}

#[tokio::test]
async fn a_rule_gives_no_higher_class_than_it_takes() {
    let chain = Chain::new().await;
    let run = async |to: &str| {
        let rule = json!({ "resource": "billing", "from": "read:get", "to": to });
        let allow = Operation::ServerDownstreamAllow;
        chain.world.run(&chain.operator, allow, &["crm"], rule).await
    };
    for to in ["write:invoice.pay", "write:*", "irreversible:*"] {
        assert_eq!(run(to).await.status, StatusCode::BAD_REQUEST, "{to}");
    }
    assert_eq!(run("read:*").await.status, StatusCode::OK);
}

#[tokio::test]
async fn introspection_names_only_the_rights_that_are_left() {
    let chain = Chain::with(&["read:get", "irreversible:drop"]).await;
    let rule =
        json!({"resource": "billing", "from": "irreversible:drop", "to": "write:invoice.pay"});
    let (allow, remove) = (Operation::ServerDownstreamAllow, Operation::ServerDownstreamRemove);
    chain.world.done(&chain.operator, allow, &["crm"], rule.clone()).await;
    let child = chain.exchange(&chain.agent_token().await).await.text("access_token").to_owned();
    let ask = async || {
        let assertion = chain.assertion(&chain.key);
        let form = [
            ("client_id", chain.server.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("token", child.as_str()),
        ];
        chain.world.post_form("/introspect", &form).await.body["scope"].clone()
    };
    assert_eq!(ask().await, "read:invoice.get write:invoice.pay");
    chain.world.done(&chain.operator, remove, &["crm"], rule).await;
    assert_eq!(ask().await, "read:invoice.get");
}

#[tokio::test]
async fn without_a_proof_of_its_own_a_server_gets_nothing() {
    let chain = Chain::new().await;
    let form = chain.form(&chain.agent_token().await);
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = chain.world.post_form("/token", &form).await;
    assert_eq!(answer.refusal(), (400, "invalid_dpop_proof"));
}

#[tokio::test]
async fn introspection_shows_the_chain_and_follows_the_parent() {
    let chain = Chain::new().await;
    let parent = chain.agent_token().await;
    let child = chain.exchange(&parent).await.text("access_token").to_owned();
    let ask = async |token: &str| {
        let assertion = chain.assertion(&chain.key);
        let form = [
            ("client_id", chain.server.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("token", token),
        ];
        chain.world.post_form("/introspect", &form).await.body
    };
    let told = ask(&child).await;
    assert_eq!((&told["active"], &told["aud"]), (&json!(true), &json!(BILLING)));
    assert_eq!(told["act"], json!({ "sub": chain.server.as_str() }));
    assert_eq!(told["sub"], chain.agent.id.as_str());
    // A server is told about the tokens that it is called with, and about no others.
    assert_eq!(ask(&parent).await["active"], true);
    let foreign = chain.world.token(&chain.operator, "https://admin.example/admin").await;
    assert_eq!(ask(&foreign).await, json!({ "active": false }));
    // The agent ends its own token, and the child ends with it.
    let assertion = chain.world.assertion(&chain.agent);
    let form = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
        ("token", parent.as_str()),
    ];
    assert_eq!(chain.world.post_form("/revoke", &form).await.status, StatusCode::OK);
    assert_eq!(ask(&child).await, json!({ "active": false }));
    let refused = chain.refused(&chain.form(&parent)).await;
    assert_eq!(refused.2, "token.revoked");
}

#[tokio::test]
async fn an_api_is_told_the_chain_of_its_own_tokens() {
    let chain = Chain::new().await;
    let parent = chain.agent_token().await;
    let child = chain.exchange(&parent).await.text("access_token").to_owned();
    let other = json!({ "name": "other", "owner": "sales", "url": "https://api.example/other" });
    chain.world.done(&chain.operator, Operation::ResourceRegister, &[], other).await;
    let mut apis = Vec::new();
    for name in ["billing", "other"] {
        let key = new_key();
        let jwk = json!({ "jwk": key.public().to_jwk(None) });
        chain.world.done(&chain.operator, Operation::ResourceKey, &[name], jwk).await;
        let id = chain.world.published.load().resource_named(name).unwrap().id.clone();
        apis.push((id, key));
    }
    let ask = async |(id, key): &(ResourceId, SigningKey), token: &str| {
        let jti = attorn_jose::base64url(&sha256(new_key().public().to_jwk(None).as_bytes()));
        let now_s = chain.world.now_s();
        let new = NewAssertion { client_id: id, issuer: ISSUER, now_s, jti: &jti };
        let assertion = new_assertion(key, &new).unwrap();
        let form = [
            ("client_id", id.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("token", token),
        ];
        chain.world.post_form("/introspect", &form).await
    };
    let told = ask(&apis[0], &child).await.body;
    assert_eq!((&told["active"], &told["scope"]), (&json!(true), &json!("read:invoice.get")));
    assert_eq!((&told["sub"], &told["act"]["sub"]), (&json!(chain.agent.id), &json!(chain.server)));
    let inactive = json!({ "active": false });
    assert_eq!(ask(&apis[1], &child).await.body, inactive);
    assert_eq!(ask(&apis[0], &parent).await.body, inactive);
    let thief = (apis[0].0.clone(), new_key());
    assert_eq!(ask(&thief, &child).await.refusal(), (401, "invalid_client"));
    let lock = json!({ "target": { "kind": "agent", "agent": "billing-agent" }, "reason": "test" });
    chain.world.done(&chain.operator, Operation::LockCreate, &[], lock).await;
    assert_eq!(ask(&apis[0], &child).await.body, inactive);
}

#[tokio::test]
async fn an_emergency_rotation_ends_children_with_their_parents() {
    let chain = Chain::new().await;
    let parent = chain.agent_token().await;
    let reason = json!({ "reason": "test" });
    let rotate = Operation::KeyEmergencyRotate;
    chain.world.done(&chain.operator, rotate, &[], reason).await;
    let refused = chain.refused(&chain.form(&parent)).await;
    assert_eq!((refused.0, refused.1.as_str()), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_server_has_a_rate_of_its_own() {
    let limits = Limits { client: Rate::new(1, 30), ..Limits::default() };
    let chain = Chain::at(World::limited(limits).await, &["read:get"]).await;
    let token = chain.agent_token().await;
    let mut issued = 0;
    for _ in 0..TURNS_MAX {
        let answer = chain.exchange(&token).await;
        if answer.status == StatusCode::OK {
            issued += 1;
            continue;
        }
        assert_eq!(answer.refusal(), (429, "temporarily_unavailable"));
        assert!(answer.headers.contains_key("retry-after") && issued >= 30);
        assert_eq!(chain.world.newest("token.refused").await["reason"], "rate.limited");
        // Others keep their share.
        assert_eq!(
            chain.world.ask_token(&chain.agent, Some(CRM), None).await.status,
            StatusCode::OK
        );
        return;
    }
    panic!("never refused");
}

/// More than a burst, however slow the machine is.
const TURNS_MAX: usize = 2_000;

const PATTERNS: [&str; 2] = ["read:get", "irreversible:drop"];

/// What a person approved is known by one name, from the token on.
#[tokio::test]
async fn an_exchanged_token_names_the_approval_of_its_call() {
    let chain = Chain::with(&PATTERNS).await;
    let (id, parent) = (chain.approved().await, chain.agent_token().await);
    let mut form = chain.form(&parent);
    set(&mut form, APPROVAL_EVIDENCE, &chain.vouched(&id, &parent));
    let answer = chain.send(&form).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let told = claims(answer.text("access_token"));
    assert_eq!(told["attorn_approval"], id.as_str());
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!((&entry["approval"], &entry["exchanged_jti"]), (&json!(id), &told["jti"]));
    // A call that nobody was asked about has none.
    let answer = chain.exchange(&parent).await;
    assert!(claims(answer.text("access_token")).get("attorn_approval").is_none());
    assert_eq!(chain.world.newest("token.exchanged").await.get("approval"), None);
}

/// Neither a server nor anybody else can say of itself that a call was approved.
#[tokio::test]
async fn an_approval_that_the_gateway_did_not_vouch_for_is_refused() {
    let chain = Chain::with(&PATTERNS).await;
    let (id, parent) = (chain.approved().await, chain.agent_token().await);
    let other_token = chain.agent_token().await;
    let (_, waiting) = chain.asked().await;
    let of = EvidenceFor { server: &chain.server, subject_token: &sha256(parent.as_bytes()) };
    let elsewhere = EvidenceFor { server: &ServerId::from_random(&[1; 16]), ..of };
    let right = chain.vouched(&id, &parent);
    let (_, tag) = right.split_once('.').unwrap();
    let unknown = ApprovalId::from_random(&[9; 16]);
    for (what, shown) in [
        ("a name alone", id.to_string()),
        ("a tag of another approval", format!("{waiting}.{tag}")),
        ("the key of another process", EvidenceKey::new(&[1; 32]).vouch_approval(&id, of)),
        ("another token", chain.vouched(&id, &other_token)),
        ("another server", chain.world.authority.evidence_key().vouch_approval(&id, elsewhere)),
        // Vouched for, and the registry knows better.
        ("an approval that waits", chain.vouched(&waiting, &parent)),
        ("an approval that is unknown", chain.vouched(&unknown, &parent)),
    ] {
        let mut form = chain.form(&parent);
        set(&mut form, APPROVAL_EVIDENCE, &shown);
        let refused = chain.refused(&form).await;
        assert_eq!(told(&refused), (400, "invalid_grant", "delegation.evidence"), "{what}");
    }
    let mut form = chain.form(&parent);
    set(&mut form, APPROVAL_EVIDENCE, &right);
    assert_eq!(chain.send(&form).await.status, StatusCode::OK);
    let mut twice = chain.form(&parent);
    twice.extend([right.as_str(); 2].map(|one| (APPROVAL_EVIDENCE, one.to_owned())));
    let refused = chain.refused(&twice).await;
    assert_eq!(told(&refused), (400, "invalid_request", "request.malformed"));
}
