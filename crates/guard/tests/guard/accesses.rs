//! What passes, and what the operation decides.

use attorn_audit::{Kind, Outcome};
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_registry::{ApprovalId, Class, Downstream, HttpMethod, ScopePattern};
use bytes::Bytes;
use http::StatusCode;

use crate::registry::{agent_id, operation, resource_id, server_id};
use crate::world::{Ask, BOTH, World, ask, told};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn a_permitted_request_reaches_the_api_with_who_asks_and_leaves_two_entries() {
    for version in BOTH {
        let world = World::new("permitted", version).await;
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let asked = ask("GET", "/invoices/7?full=%2F&x=1")
            .with("traceparent", &parent)
            .with("x-request-id", "chosen");
        let answer = world.ask("read:invoice.get", asked).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "an invoice"));
        assert_eq!(answer.header("etag"), "\"1\"");
        for gone in ["set-cookie", "attorn-decision", "keep-alive"] {
            assert_eq!(answer.header(gone), "", "{gone}");
        }
        let seen = world.api.take_seen().pop().unwrap();
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            ("GET", "/v1/invoices/7?full=%2F&x=1")
        );
        assert_eq!(seen.header("attorn-subject"), Some(agent_id().as_str()));
        assert_eq!(seen.header("attorn-agent"), Some(agent_id().as_str()));
        assert_eq!(seen.header("attorn-server"), Some(server_id().as_str()));
        assert_eq!(seen.header("attorn-actors"), Some(&*format!("[\"{}\"]", server_id())));
        assert_eq!(seen.header("attorn-scope"), Some("read:invoice.get"));
        assert_eq!(seen.header("attorn-operation"), Some("invoice.get"));
        assert!(seen.header("traceparent").unwrap().starts_with(&format!("00-{TRACE}-")));
        for gone in ["authorization", "dpop", "cookie", "transfer-encoding", "x-request-id"] {
            assert_eq!(seen.header(gone), None);
        }
        let ended = |entries: &[attorn_audit::Entry]| {
            entries.iter().any(|entry| entry.kind == Kind::CallCompleted)
        };
        let entries = world.entries(ended).await;
        let [.., intent, outcome] = entries.as_slice() else { panic!("{entries:?}") };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        assert_eq!((intent.kind, text(&intent.role).as_str()), (Kind::ResourceAccessed, "guard"));
        assert_eq!(text(&intent.token_jti), "parent");
        assert_eq!(text(&intent.exchanged_jti), seen.header("attorn-token-id").unwrap());
        assert_eq!(text(&intent.decision_id), seen.header("attorn-decision").unwrap());
        assert_eq!(text(&intent.downstream_resource), resource_id().as_str());
        assert_eq!(text(&intent.agent), agent_id().as_str());
        assert_eq!(text(&intent.trace_id), TRACE);
        assert_eq!(intent.detail["operation"], "invoice.get");
        assert!(intent.proof_jti.is_some() && intent.arguments_digest.is_some());
        assert_eq!(outcome.decision_id, intent.decision_id);
        assert_eq!((outcome.kind, outcome.outcome), (Kind::CallCompleted, Some(Outcome::Ok)));
        assert_eq!(text(&outcome.downstream_request_id), "api-1");
        assert_eq!(text(&outcome.downstream_status), "200");
        assert_eq!((outcome.arguments_bytes, outcome.result_bytes), (Some(0), Some(10)));
    }
}

/// The approval of the call comes with the token and with nothing else.
#[tokio::test]
async fn an_approval_is_told_to_the_api_and_to_the_journal() {
    for version in BOTH {
        let world = World::new("approval", version).await;
        let (id, stranger) = (ApprovalId::from_random(&[5; 16]), ApprovalId::from_random(&[6; 16]));
        for approval in [Some(id), None] {
            let claims = world.claims("read:invoice.get");
            let jti = claims.jti.clone();
            let claims = AccessTokenClaims { attorn_approval: approval.clone(), ..claims };
            let asked = ask("GET", "/invoices/7").with("attorn-approval", stranger.as_str());
            let answer = world.ask_with(&world.issue(&claims), asked).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            let approval = approval.as_ref().map(ApprovalId::as_str);
            let seen = world.api.take_seen().pop().unwrap();
            assert_eq!(seen.header("attorn-approval"), approval);
            let of = |one: &&attorn_audit::Entry| one.exchanged_jti.as_deref() == Some(&*jti);
            let entries = world.entries(|all| all.iter().any(|one| of(&one))).await;
            let intent = entries.iter().find(of).unwrap();
            assert_eq!(intent.approval.as_deref(), approval);
        }
    }
}

#[tokio::test]
async fn a_body_goes_on_and_its_size_is_on_record() {
    for version in BOTH {
        let world = World::new("body", version).await;
        let body = Bytes::from_static(b"{\"amount\":1}");
        let asked = Ask { body: body.clone(), ..ask("POST", "/invoices/7/pay") };
        let answer = world.ask("write:invoice.pay", asked.with("content-type", "a/b")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let seen = world.api.take_seen().pop().unwrap();
        assert_eq!((seen.body, seen.headers["content-type"].as_bytes()), (body, &b"a/b"[..]));
        let entries = world.entries(|all| all.iter().any(|one| one.outcome.is_some())).await;
        assert_eq!(entries.last().unwrap().arguments_bytes, Some(12));
    }
}

#[tokio::test]
async fn what_is_no_operation_is_not_found_by_who_may_ask_and_nothing_to_anybody_else() {
    for version in BOTH {
        let world = World::new("operations", version).await;
        for (method, below) in [
            ("GET", "/customers/7"),
            ("DELETE", "/invoices/7"),
            ("GET", "/invoices/7/pay"),
            ("GET", "/invoices/7/"),
            ("GET", "s/invoices/7"),
            ("GET", "/"),
        ] {
            let answer = world.ask("read:invoice.get", ask(method, below)).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (404, "operation.unknown", ""), "{method} {below}");
            assert_eq!(world.newest().await.kind, Kind::ResourceAccessed);
        }
        // Without a token an operation that exists looks like one that does not.
        let mut answers = Vec::new();
        for below in ["/invoices/7", "/customers/7"] {
            let answer = world.send(ask("GET", below)).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (401, "token.missing", ""));
            let challenge = answer.header("www-authenticate");
            assert!(challenge.starts_with("DPoP algs=\""), "{challenge}");
            answers.push((answer.status, challenge.to_owned(), answer.text.len()));
        }
        assert_eq!(answers[0], answers[1]);
        world.passes().await;
    }
}

#[tokio::test]
async fn a_path_with_two_readings_is_no_operation() {
    for version in BOTH {
        let world = World::new("paths", version).await;
        for below in [
            "/invoices/../invoices/7",
            "/invoices/%2E%2E/7",
            "/invoices/7%2Fpay",
            "/invoices/7%2fpay",
            "/invoices/7;x=1",
            "//invoices/7",
            "/invoices//7",
            "/./invoices/7",
            "/invoices/%37",
            "/invoices/7%00",
            "/invoices/7%5C8",
            "/Invoices/7",
        ] {
            let answer = world.ask("read:invoice.get", ask("GET", below)).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (404, "operation.unknown", ""), "{below}");
        }
        let answer = world.ask("read:invoice.get", ask("GET", "/invoices/a%20b?x=../%2e;")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let seen = world.api.take_seen().pop().unwrap();
        assert_eq!(seen.target, "/v1/invoices/a%20b?x=../%2e;");
    }
}

#[tokio::test]
async fn an_operation_needs_its_scope_and_that_of_all_it_could_be_taken_for() {
    for version in BOTH {
        let world = World::new("scopes", version).await;
        let answer = world.ask("read:invoice.get", ask("POST", "/invoices/7/pay")).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (403, "scope.missing", "insufficient_scope"));
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("scope=\"write:invoice.pay\""), "{challenge}");
        let answer = world.ask("write:invoice.pay", ask("POST", "/invoices/7/pay")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        drop(world.api.take_seen());
        // `/invoices/search` is `/invoices/{id}` to a reader that prefers the template.
        let answer = world.ask("read:invoice.get", ask("GET", "/invoices/search")).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (403, "scope.missing", "insufficient_scope"));
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("read:invoice.get read:invoice.search"), "{challenge}");
        // The token holds it, and no rule gives it: nobody was issued such a token.
        let both = "read:invoice.get read:invoice.search";
        let answer = world.ask(both, ask("GET", "/invoices/search")).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (403, "scope.missing", ""));
        world.change(|parts| {
            let rule = parts.resources[0].downstreams[0].clone();
            let to = ScopePattern::parse("read:invoice.search").unwrap();
            parts.resources[0].downstreams.push(Downstream { to, ..rule });
        });
        let answer = world.ask(both, ask("GET", "/invoices/search")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

/// A form can say another method to many frameworks, in the body or in the query.
#[tokio::test]
async fn a_form_needs_the_scope_of_every_method_that_it_could_say() {
    let body = Bytes::from_static(b"_method=DELETE");
    for version in BOTH {
        let world = World::new("forms", version).await;
        world.change(|parts| {
            let note = Downstream {
                to: ScopePattern::parse("write:invoice.note").unwrap(),
                ..parts.resources[0].downstreams[2].clone()
            };
            parts.resources[0].downstreams.push(note);
            parts.resources[0].operations.extend([
                operation("invoice.note", Class::Write, HttpMethod::Post, "/invoices/{id}"),
                operation(
                    "invoice.drop",
                    Class::Irreversible,
                    HttpMethod::Delete,
                    "/invoices/{id}",
                ),
            ]);
        });
        let post = |below: &str, media: &str| {
            Ask { body: body.clone(), ..ask("POST", below) }.with("content-type", media)
        };
        let both = "write:invoice.note irreversible:invoice.drop";
        for form in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            let answer = world.ask("write:invoice.note", post("/invoices/7", form)).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (403, "scope.missing", "insufficient_scope"), "{form}");
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains(both), "{challenge}");
        }
        let in_query = post("/invoices/7?a=1&%5fmethod=delete", "application/json");
        let answer = world.ask("write:invoice.note", in_query).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (403, "scope.missing", "insufficient_scope"));
        assert!(answer.header("www-authenticate").contains(both), "{answer:?}");
        // What it says is an operation as well, or it is none.
        let in_query = post("/invoices/7?_method=PUT", "application/json");
        let answer = world.ask("write:invoice.note", in_query).await;
        assert_eq!(told(&world.refused(&answer).await), (404, "operation.unknown", ""));
        // No form: only what the request line says.
        for asked in
            [post("/invoices/7?method=DELETE", "application/json"), ask("POST", "/invoices/7")]
        {
            let answer = world.ask("write:invoice.note", asked).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }
        assert_eq!(world.api.take_seen().len(), 2);
        // A form where nothing else is: as before.
        let form = post("/invoices/7/pay", "application/x-www-form-urlencoded");
        let answer = world.ask("write:invoice.pay", form).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_that_a_caller_writes_passes_for_an_identity() {
    for version in BOTH {
        let world = World::new("smuggled", version).await;
        let asked = ask("GET", "/invoices/7")
            .with("attorn-subject", "eve")
            .with("attorn-subject", "mallory")
            .with("attorn_subject", "eve")
            .with("attorn_actors", "[\"eve\"]")
            .with("attorn-anything", "eve")
            .with("x-forwarded-for", "10.0.0.1")
            .with("x_forwarded_host", "evil.example")
            .with("forwarded", "for=10.0.0.1")
            .with("cookie", "session=1")
            .with("x-original-url", "/admin")
            .with("x-http-method-override", "DELETE")
            .with("x-kept", "yes");
        let answer = world.ask("read:invoice.get", asked).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let seen = world.api.take_seen().pop().unwrap();
        assert_eq!(seen.header("attorn-subject"), Some(agent_id().as_str()));
        assert_eq!(seen.header("x-kept"), Some("yes"));
        let names: Vec<&str> = seen.headers.keys().map(http::HeaderName::as_str).collect();
        for gone in [
            "attorn_subject",
            "attorn_actors",
            "attorn-anything",
            "x-forwarded-for",
            "x_forwarded_host",
            "forwarded",
            "cookie",
            "x-original-url",
            "x-http-method-override",
        ] {
            assert!(!names.contains(&gone), "{gone} in {names:?}");
        }
    }
}
