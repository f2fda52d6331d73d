//! The other issuers of the configuration: who is trusted for workloads or people, and where people
//! log in. They are asked as the authority asks them, from this machine.

use attorn_authority::{FetchRefusal, LookRefusal, SeenIssuer};

use super::funnel::{Funnel, word};
use crate::config::Config;
use crate::exit::Failure;

/// Asks each issuer for its keys, and the provider for what a log-in needs.
pub(super) async fn look(funnel: &mut Funnel, config: &Config) {
    let Some(authority) = &config.authority else { return };
    for trusted in &authority.trusted_issuers {
        let seen = attorn_authority::look_at_issuer(trusted).await;
        tell(funnel, &format!("issuer {}", trusted.issuer), seen, "hosts");
    }
    if let Some(login) = &authority.login {
        let seen = attorn_authority::look_at_provider(login).await;
        tell(funnel, &format!("provider {}", login.issuer), seen, "provider_hosts");
    }
}

/// `hosts` is the setting that lets a host of a private network be asked.
fn tell(funnel: &mut Funnel, step: &str, seen: Result<SeenIssuer, LookRefusal>, hosts: &str) {
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => return funnel.fail(step, &failure(&why, hosts)),
    };
    for finding in &seen.findings {
        funnel.find(step, &finding.to_string(), "ask who runs it, and compare with attorn.toml");
    }
    let algorithms: Vec<_> = seen.algorithms.iter().copied().collect();
    let (keys, at) = (seen.keys, &seen.keys_at);
    funnel.ok(step, &format!("{keys} keys ({}) at {at}", algorithms.join(", ")));
}

fn failure(why: &LookRefusal, hosts: &str) -> Failure {
    let what = why.to_string();
    match why {
        LookRefusal::Fetch { why: FetchRefusal::Address | FetchRefusal::Url, .. } => {
            Failure::usage(what).next(format!("list its host under `{hosts}` in attorn.toml"))
        }
        LookRefusal::Fetch { url, why: FetchRefusal::Unreachable } => {
            let next = format!("reach it from this machine: curl {}", word(url));
            Failure::unreachable(what).next(next)
        }
        LookRefusal::Fetch { url, why: FetchRefusal::Answer } => {
            Failure::no(what).next(format!("see what is there: curl -i {}", word(url)))
        }
        LookRefusal::Document { url, .. } | LookRefusal::Provider { url, .. } => {
            let next = format!("compare `issuer` in attorn.toml with: curl {}", word(url));
            Failure::no(what).next(next)
        }
        LookRefusal::Keys { url, .. } => {
            Failure::no(what).next(format!("see its keys: curl {}", word(url)))
        }
        LookRefusal::Client(_) | LookRefusal::File(_) | LookRefusal::Login(_) => {
            Failure::usage(what).next("see [authority] in attorn.toml")
        }
    }
}

#[cfg(test)]
mod tests {
    use attorn_authority::IssuerFinding;

    use super::*;
    use crate::exit::Exit;
    use crate::output::{Format, Output};

    #[test]
    fn an_issuer_that_cannot_be_used_fails_and_a_finding_does_not() {
        let end = |seen| {
            let mut funnel = Funnel::new(Output::new(Format::Json));
            tell(&mut funnel, "issuer", seen, "hosts");
            funnel.end()
        };
        let seen = SeenIssuer {
            keys_at: "https://id.example/jwks".to_owned(),
            keys: 1,
            algorithms: ["ES256"].into(),
            findings: vec![IssuerFinding::NoS256],
        };
        assert_eq!(end(Ok(seen)), Exit::Yes);
        let fetch = |why| Err(LookRefusal::Fetch { url: "https://id.example".to_owned(), why });
        assert_eq!(end(fetch(FetchRefusal::Unreachable)), Exit::Unreachable);
        assert_eq!(end(fetch(FetchRefusal::Answer)), Exit::No);
        assert_eq!(end(fetch(FetchRefusal::Address)), Exit::Usage);
        assert_eq!(end(Err(LookRefusal::File("gone".to_owned()))), Exit::Usage);
    }

    #[test]
    fn a_url_is_one_word_of_the_command_to_type() {
        let url = "https://id.example/$(id)?a=1&b='c'\u{1b}".to_owned();
        let why = LookRefusal::Fetch { url, why: FetchRefusal::Answer };
        let next = failure(&why, "hosts").next.unwrap();
        let quoted = r"curl -i 'https://id.example/$(id)?a=1&b='\''c'\''".to_owned() + "\u{fffd}'";
        assert!(next.ends_with(&quoted), "{next}");
    }
}
