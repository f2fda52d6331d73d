//! Tokens and proofs.

use attorn_audit::Kind;
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{AgentId, ScopeSet, ServerId};
use http::StatusCode;
use std::sync::atomic::Ordering;

use crate::registry::{agent_id, server_id};
use crate::world::{Ask, BILLING, BOTH, ISSUER, World, ask, key, told};

fn get() -> Ask {
    ask("GET", "/invoices/7")
}

type Change = fn(&mut AccessTokenClaims<ServerId>);

const READ: &str = "read:invoice.get";
const HTU: &str = "https://api.example/billing/invoices/7";

/// An agent's own token, for whatever audience.
fn agents(world: &World, aud: &str) -> AccessTokenClaims<AgentId> {
    let of = world.claims(READ);
    AccessTokenClaims {
        act: None,
        attorn_approval: None,
        aud: aud.to_owned(),
        authorization_details: None,
        client_id: agent_id(),
        cnf: Confirmation::Jkt(world.agent_key.public().thumbprint()),
        epoch: of.epoch,
        exp: of.exp,
        grt: of.grt,
        iat: of.iat,
        iss: ISSUER.to_owned(),
        jti: of.jti,
        nbf: of.nbf,
        parent: None,
        scope: ScopeSet::parse(READ).unwrap(),
        sub: attorn_oauth::subject::Subject::Agent(agent_id()),
    }
}

#[tokio::test]
async fn an_agent_s_token_is_none_at_an_api() {
    for version in BOTH {
        let world = World::new("agents", version).await;
        let gateway = "http://127.0.0.1:8702/crm/mcp";
        for (aud, reason) in [(gateway, "token.audience"), (BILLING, "token.malformed")] {
            let token = world.issue(&agents(&world, aud));
            let asked = world.proven_by(&world.agent_key, get(), &token).await;
            let answer = world.send(asked).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (401, reason, "invalid_token"), "{aud}");
            assert_eq!(world.newest().await.kind, Kind::TokenRefused);
        }
        world.passes().await;
    }
}

#[tokio::test]
async fn a_token_is_for_one_api_of_one_issuer_and_for_a_time() {
    for version in BOTH {
        let world = World::new("tokens", version).await;
        let changes: [(Change, &str); 5] = [
            (|claims| claims.aud = "https://api.example/billing2".into(), "token.audience"),
            (|claims| claims.aud = "https://api.example/billing/".into(), "token.audience"),
            (|claims| claims.iss = "http://127.0.0.1:8799".into(), "token.issuer"),
            (|claims| claims.parent = None, "token.malformed"),
            (
                |claims| {
                    claims.iat -= 120;
                    claims.exp -= 120;
                },
                "token.expired",
            ),
        ];
        for (change, reason) in changes {
            let mut claims = world.claims(READ);
            change(&mut claims);
            let answer = world.ask_with(&world.issue(&claims), get()).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (401, reason, "invalid_token"));
        }
        let forged = attorn_oauth::access_token::issue(&world.claims(READ), "key-1", &key(8));
        let answer = world.ask_with(&forged.unwrap(), get()).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (401, "token.signature", "invalid_token"));
        world.passes().await;
    }
}

#[tokio::test]
async fn a_token_needs_the_proof_of_its_own_key() {
    for version in BOTH {
        let world = World::new("keys", version).await;
        let token = world.token(READ);
        for thief in [&world.agent_key, &key(9)] {
            let asked = world.proven_by(thief, get(), &token).await;
            let answer = world.send(asked).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (401, "possession.key_mismatch", "invalid_dpop_proof"));
            let entry = world.newest().await;
            assert_eq!(entry.kind, Kind::PossessionFailed);
            // A stolen token has a name.
            assert_eq!(entry.server.as_deref(), Some(server_id().as_str()));
        }
        let answer = world.ask_with(&token, get()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

#[tokio::test]
async fn a_proof_is_about_the_request_and_used_once() {
    for version in BOTH {
        let world = World::new("proofs", version).await;
        let token = world.token(READ);
        let other = world.token(READ);
        let nonce = world.nonce().await;
        let sent = async |about: (&str, &str), of: Option<&str>, nonce: Option<&str>| {
            let proof = world.proof(&world.server_key, about, of, nonce);
            let asked = get().with("authorization", &format!("DPoP {token}")).with("dpop", &proof);
            let answer = world.send(asked).await;
            world.refused(&answer).await
        };
        let proof_error = |reason: &'static str| (401, reason, "invalid_dpop_proof");
        let (of, fresh) = (Some(token.as_str()), Some(nonce.as_str()));
        let refused = sent(("POST", HTU), of, fresh).await;
        assert_eq!(told(&refused), proof_error("possession.method"));
        for htu in [
            "https://api.example/billing/invoices/8",
            "https://api.example/billing/invoices/7?x=1",
            "http://127.0.0.1/billing/invoices/7",
            "https://api.example/billing",
        ] {
            let refused = sent(("GET", htu), of, fresh).await;
            assert_eq!(told(&refused), proof_error("possession.url"), "{htu}");
        }
        let refused = sent(("GET", HTU), Some(&other), fresh).await;
        assert_eq!(told(&refused), proof_error("possession.token_hash"));
        let refused = sent(("GET", HTU), of, Some("made-up")).await;
        assert_eq!(told(&refused), (401, "possession.nonce", "use_dpop_nonce"));
        let bare = world.send(get().with("authorization", &format!("DPoP {token}"))).await;
        let refused = world.refused(&bare).await;
        assert_eq!(told(&refused), proof_error("possession.missing"));

        let asked = world.proven(get(), &token).await;
        let doubled = asked.headers.iter().find(|(name, _)| name == "dpop").unwrap().1.clone();
        let answer = world.send(asked.clone().with("dpop", &doubled)).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), proof_error("possession.malformed"));
        // None of the refusals burned it.
        assert_eq!(world.send(asked.clone()).await.status, StatusCode::OK);
        drop(world.api.take_seen());
        let ended =
            |all: &[attorn_audit::Entry]| all.last().is_some_and(|one| one.outcome.is_some());
        drop(world.entries(ended).await);
        let answer = world.send(asked).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), proof_error("possession.replayed"));
    }
}

#[tokio::test]
async fn a_token_comes_once_and_never_as_a_bearer_token() {
    for version in BOTH {
        let world = World::new("headers", version).await;
        let token = world.token(READ);
        let asked = world.proven(get(), &token).await;
        let bearer = |ask: &Ask| {
            let mut ask = ask.clone();
            ask.headers.retain(|(name, _)| name != "authorization");
            ask
        };
        let as_bearer = bearer(&asked).with("authorization", &format!("Bearer {token}"));
        let answer = world.send(as_bearer).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (401, "token.bearer_not_allowed", "invalid_token"));
        let twice = asked.clone().with("authorization", &format!("DPoP {token}"));
        let answer = world.send(twice).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (401, "token.malformed", "invalid_token"));
        let mut in_query = bearer(&asked);
        in_query.target.push_str(&format!("?access_token={token}"));
        let answer = world.send(in_query).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (401, "token.missing", ""));
        assert_eq!(world.send(asked).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_nonce_is_renewed_before_it_ends() {
    for version in BOTH {
        let world = World::new("nonces", version).await;
        let (first, second) = (world.token(READ), world.token(READ));
        let nonce = world.nonce().await;
        let sent = async |token: &str| {
            let proof = world.proof(&world.server_key, ("GET", HTU), Some(token), Some(&nonce));
            let asked = get().with("authorization", &format!("DPoP {token}")).with("dpop", &proof);
            world.send(asked).await
        };
        let answer = sent(&first).await;
        assert_eq!((answer.status, answer.header("dpop-nonce")), (StatusCode::OK, ""));
        world.now_s.fetch_add(31, Ordering::SeqCst);
        let answer = sent(&second).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.header("dpop-nonce").is_empty());
    }
}
