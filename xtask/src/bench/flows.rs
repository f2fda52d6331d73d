//! Whole code flows (RFC 6749 section 4.1, RFC 7636, RFC 9449): an application sends a person to an
//! authority, the person answers what is asked, and the application redeems the code.
//!
//! A few threads do one flow after the other, each with a browser of its own where the person is logged
//! in. The log-in, and everything that happens once, is over before the measured time begins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attorn_jose::{base64url, sha256};
use attorn_testkit::wire::RawReply;
use serde::Serialize;
use url::form_urlencoded::{Serializer, parse};

use super::browser::Browser;
use super::load::summary;
use super::page::{FilledForm, Person};
use super::{Plan, cpu};
use crate::agent::{Agent, Redemption, unique};
use crate::step::StepFailed;

/// Where codes come back. Nobody listens there: the browser is ours.
pub(super) const CALLBACK: &str = "http://127.0.0.1:7777/cb";

/// An authority, and an application that sends people there.
#[derive(Debug)]
pub(super) struct Site<'a> {
    /// Where the authority listens.
    pub(super) peer: SocketAddr,
    /// The path of its authorization endpoint.
    pub(super) authorize: &'static str,
    /// The application, with the key of its proofs.
    pub(super) application: &'a Agent,
    /// Where the token is for.
    pub(super) resource: &'a str,
    /// What is asked for there.
    pub(super) scope: &'static str,
    /// Who answers.
    pub(super) person: Person,
}

/// One measured case.
#[derive(Debug, Serialize)]
pub(super) struct FlowFigure {
    pub(super) name: String,
    pub(super) connections: usize,
    flows_per_second: f64,
    pub(super) cpu_us_per_flow: f64,
    cpu_us_per_request: f64,
    requests_per_flow: f64,
    #[serde(flatten)]
    counted: Counted,
}

/// What came of all flows.
#[derive(Debug, Default, Serialize)]
struct Counted {
    /// Flows that ended with a token.
    ok: u64,
    /// Those that did not, by what came instead.
    failed: BTreeMap<String, u64>,
    /// Requests, also of flows that failed.
    requests: u64,
    seconds: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// One browser, and what the application remembers between its flows.
struct Visitor<'a> {
    site: &'a Site<'a>,
    browser: Browser,
    nonce: String,
}

/// What one browser did.
#[derive(Default)]
struct Visits {
    times: Vec<u64>,
    failed: BTreeMap<String, u64>,
    requests: u64,
}

impl Plan {
    /// Measures flows through as many browsers at once.
    pub(super) fn measure_flows(
        &self,
        name: &str,
        process: u32,
        (site, browsers): (&Site<'_>, usize),
    ) -> Result<Option<FlowFigure>, StepFailed> {
        if !self.wants(name, browsers) {
            return Ok(None);
        }
        let visitors = (0..browsers).map(|_| Visitor::logged_in(site));
        let visitors = visitors.collect::<Result<Vec<_>, _>>()?;
        let before = cpu::micros(process)?;
        let counted = all(visitors, self.lasts)?;
        let spent = cpu::micros(process)?.saturating_sub(before);
        let figure = FlowFigure::of((name, browsers), spent, counted)?;
        println!("{}", figure.line());
        Ok(Some(figure))
    }
}

impl FlowFigure {
    /// Fails where no flow ended with a token. What failed costs the server too, so it counts.
    fn of(
        (name, connections): (&str, usize),
        spent_us: u64,
        counted: Counted,
    ) -> Result<Self, StepFailed> {
        if counted.ok == 0 {
            let failed = &counted.failed;
            return Err(StepFailed::Check(format!(
                "{name}: no flow ended with a token: {failed:?}"
            )));
        }
        let flows = counted.ok + counted.failed.values().sum::<u64>();
        Ok(Self {
            name: name.to_owned(),
            connections,
            flows_per_second: cpu::ratio(counted.ok, 1) / counted.seconds.max(0.001),
            cpu_us_per_flow: cpu::ratio(spent_us, flows),
            cpu_us_per_request: cpu::ratio(spent_us, counted.requests),
            requests_per_flow: cpu::ratio(counted.requests, flows),
            counted,
        })
    }

    fn line(&self) -> String {
        let Counted { failed, p50_us, p99_us, .. } = &self.counted;
        format!(
            "{}, {} connections: {:.0} flows/s, {:.1} us CPU a flow, {:.1} us a request, \
             {:.1} requests a flow, p50 {p50_us} us, p99 {p99_us} us, {} others",
            self.name,
            self.connections,
            self.flows_per_second,
            self.cpu_us_per_flow,
            self.cpu_us_per_request,
            self.requests_per_flow,
            failed.values().sum::<u64>()
        )
    }
}

fn all(visitors: Vec<Visitor<'_>>, lasts: Duration) -> Result<Counted, StepFailed> {
    let started = Instant::now();
    let visits = std::thread::scope(|scope| {
        let threads: Vec<_> = visitors
            .into_iter()
            .map(|visitor| scope.spawn(move || visitor.again_and_again(started, lasts)))
            .collect();
        let died = |_| StepFailed::Check("a browser of the bench died".to_owned());
        threads.into_iter().map(|thread| thread.join().map_err(died)).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(count(visits, started.elapsed().as_secs_f64()))
}

fn count(visits: Vec<Visits>, seconds: f64) -> Counted {
    let mut counted = Counted { seconds, ..Counted::default() };
    let mut times = Vec::new();
    for one in visits {
        counted.requests += one.requests;
        times.extend(one.times);
        for (what, often) in one.failed {
            *counted.failed.entry(what).or_default() += often;
        }
    }
    counted.ok = times.len() as u64;
    (counted.p50_us, counted.p99_us, counted.max_us) = summary(times);
    counted
}

impl<'a> Visitor<'a> {
    /// After a first flow: logged in, with the authority's nonce.
    fn logged_in(site: &'a Site<'a>) -> Result<Self, StepFailed> {
        let mut visitor = Self { site, browser: Browser::new(site.peer), nonce: String::new() };
        visitor.flow()?;
        visitor.browser.requests = 0;
        Ok(visitor)
    }

    fn again_and_again(mut self, started: Instant, lasts: Duration) -> Visits {
        let mut visits = Visits::default();
        while started.elapsed() < lasts {
            let began = Instant::now();
            match self.flow() {
                Ok(()) => {
                    let took = began.elapsed().as_micros();
                    visits.times.push(u64::try_from(took).unwrap_or(u64::MAX));
                }
                Err(what) => *visits.failed.entry(what.to_string()).or_default() += 1,
            }
        }
        visits.requests = self.browser.requests;
        visits
    }

    fn flow(&mut self) -> Result<(), StepFailed> {
        self.browser.start_anew();
        let verifier = base64url(&sha256(unique().as_bytes()));
        let mut reply = self.browser.open(&self.request(&verifier))?;
        for _ in 0..STEPS_MAX {
            reply = match reply.header("location").map(str::to_owned) {
                Some(to) if to.starts_with(CALLBACK) => return self.redeem(&to, &verifier),
                Some(to) => {
                    let origin = self.browser.origin();
                    self.browser.open(to.strip_prefix(&origin).unwrap_or(&to))?
                }
                None => {
                    let form = FilledForm::of_page(&reply.text(), self.site.person);
                    self.browser.submit(&form.ok_or_else(|| unexpected("the browser", &reply))?)?
                }
            };
        }
        Err(StepFailed::Check("the flow leads nowhere".to_owned()))
    }

    fn request(&self, verifier: &str) -> String {
        let Site { application, resource, scope, authorize, .. } = self.site;
        let mut query = Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", &application.client_id),
            ("redirect_uri", CALLBACK),
            ("state", "s"),
            ("code_challenge", &base64url(&sha256(verifier.as_bytes()))),
            ("code_challenge_method", "S256"),
            ("resource", resource),
            ("scope", scope),
        ]);
        format!("{authorize}?{}", query.finish())
    }

    /// Twice where the nonce is an old one.
    fn redeem(&mut self, came_back: &str, verifier: &str) -> Result<(), StepFailed> {
        let code = parameter(came_back, "code");
        let code = code.ok_or_else(|| StepFailed::Check(format!("no code: {came_back}")))?;
        let given = Redemption { code: &code, verifier, redirect_uri: CALLBACK };
        for _ in 0..2 {
            let request = self.site.application.code_request(&given, &self.nonce)?;
            let reply = self.browser.send(&request)?;
            if let Some(fresh) = reply.header("dpop-nonce") {
                fresh.clone_into(&mut self.nonce);
            }
            let answer = reply.json().unwrap_or_default();
            let is_bound = answer.get("token_type").is_some_and(|kind| kind == "DPoP");
            if reply.status == 200 && is_bound && answer.get("refresh_token").is_some() {
                return Ok(());
            }
            if answer.get("error").is_none_or(|error| error != "use_dpop_nonce") {
                return Err(unexpected("the token endpoint", &reply));
            }
        }
        Err(StepFailed::Check("the nonce was refused twice".to_owned()))
    }
}

fn parameter(address: &str, name: &str) -> Option<String> {
    let (_, query) = address.split_once('?')?;
    let found = parse(query.as_bytes()).find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned())
}

/// The beginning is enough: the same failure must count as the same.
fn unexpected(whom: &str, reply: &RawReply) -> StepFailed {
    let text: String = reply.text().chars().take(200).collect();
    StepFailed::Check(format!("{whom} got {}: {text}", reply.status))
}

/// A log-in, a question and the ways between them.
const STEPS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_browsers_did_is_one_count() {
        let failed = |what: &str, often| BTreeMap::from([(what.to_owned(), often)]);
        let visits = vec![
            Visits { times: vec![30, 10], failed: failed("a", 1), requests: 13 },
            Visits { times: vec![20], failed: failed("a", 2), requests: 11 },
            Visits { times: Vec::new(), failed: failed("b", 1), requests: 1 },
        ];
        let counted = count(visits, 2.0);
        assert_eq!((counted.ok, counted.requests), (3, 25));
        let expected = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]);
        assert_eq!(counted.failed, expected);
        assert_eq!((counted.p50_us, counted.max_us), (20, 30));
    }

    #[test]
    fn a_figure_counts_failures_and_is_none_where_nothing_succeeded() {
        let counted = |ok| Counted {
            ok,
            failed: BTreeMap::from([("closed".to_owned(), 2)]),
            requests: 20,
            seconds: 2.0,
            ..Counted::default()
        };
        let figure = FlowFigure::of(("flow", 8), 1000, counted(8)).unwrap();
        let line = figure.line();
        let expected = "flow, 8 connections: 4 flows/s, 100.0 us CPU a flow, 50.0 us a request, \
                        2.0 requests a flow, p50 0 us, p99 0 us, 2 others";
        assert_eq!(line, expected);
        let failed = FlowFigure::of(("flow", 8), 1000, counted(0)).unwrap_err();
        assert!(failed.to_string().contains("closed"), "{failed}");
    }

    #[test]
    fn a_code_is_read_from_the_address_it_came_back_to() {
        let back = "http://127.0.0.1:7777/cb?state=s&code=a%2Fb&iss=i";
        assert_eq!(parameter(back, "code").as_deref(), Some("a/b"));
        assert_eq!(parameter("http://127.0.0.1:7777/cb?error=access_denied", "code"), None);
        assert_eq!(parameter("http://127.0.0.1:7777/cb", "code"), None);
    }
}
