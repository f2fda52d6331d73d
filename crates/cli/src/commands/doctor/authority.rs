//! The way to the authority: connection, clock, readiness, metadata and keys.
//!
//! What stands in front of it may answer in its place: nothing counts as well that was not said.

use attorn_connect::{World, discovery};
use http::header::DATE;
use http::{HeaderMap, StatusCode};

use super::asked::{self, Answer};
use super::funnel::Funnel;
use super::{certificate, undiscovered};
use crate::exit::Failure;
use crate::json::member;
use crate::profile::Proof;

/// Looks at all of it; whether it can be used at all.
pub(super) async fn look(
    funnel: &mut Funnel,
    world: &World,
    (issuer, proof): (&str, &Proof),
) -> bool {
    let before_s = world.clock.now_s();
    let answer = match asked::get(world, &format!("{issuer}/healthz")).await {
        Ok(answer) => answer,
        Err(failure) => {
            funnel.fail("connection", &failure);
            return false;
        }
    };
    let after_s = world.clock.now_s();
    let tls = if issuer.starts_with("https://") {
        "TLS, certificate trusted"
    } else {
        "plain HTTP, which is for loopback only"
    };
    funnel.ok("connection", &format!("{issuer}: {tls}"));
    funnel.check("clock", clock(&answer.headers, (before_s, after_s)));
    readiness(funnel, world, issuer).await;
    let server = match discovery::authorization_server(world, issuer).await {
        Ok(server) => server,
        Err(error) => {
            funnel.fail("authority", &undiscovered(&error));
            return false;
        }
    };
    funnel.ok("authority", &format!("tokens at {}", server.token_endpoint));
    certificate::at_authority(funnel, (world, proof), &server, &answer.headers);
    let keys = keys(world, issuer).await;
    funnel.check("keys", keys);
    true
}

/// Journal, checkpoint and snapshot, as the process itself sees them.
pub(super) async fn readiness(funnel: &mut Funnel, world: &World, issuer: &str) {
    let url = format!("{issuer}/readyz");
    let told = asked::get(world, &url).await.and_then(|answer| problems(&url, &answer));
    let problems = match told {
        Ok(problems) => problems,
        Err(failure) => return funnel.fail("ready", &failure),
    };
    for (step, problem, good, fix) in READINESS {
        if problems.iter().any(|one| one.as_str() == *problem) {
            funnel.fail(step, &Failure::no(*problem).next(*fix));
        } else {
            funnel.ok(step, good);
        }
    }
    let is_known = |word: &str| READINESS.iter().any(|(_, problem, _, _)| *problem == word);
    for unknown in problems.iter().filter(|one| !is_known(one.as_str())) {
        let what = format!("`{unknown}`, a problem that this version does not know");
        funnel.fail("ready", &Failure::no(what).next("look at the log of `attorn serve`"));
    }
}

/// What the process names as its problems. Who is not ready names one.
fn problems(url: &str, answer: &Answer) -> Result<Vec<String>, Failure> {
    let told = answer.json();
    let named = member(&told, "problems").as_array();
    let named: Option<Vec<String>> =
        named.and_then(|named| named.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    let is_ready = match answer.status {
        StatusCode::OK => true,
        StatusCode::SERVICE_UNAVAILABLE => false,
        _ => return Err(answer.foreign(url)),
    };
    match named {
        Some(problems) if is_ready || !problems.is_empty() => Ok(problems),
        Some(_) | None => Err(answer.foreign(url)),
    }
}

/// The keys that tokens are verified with.
pub(super) async fn keys(world: &World, issuer: &str) -> Result<String, Failure> {
    let url = format!("{issuer}/jwks");
    let answer = asked::get(world, &url).await?;
    if answer.status != StatusCode::OK {
        return Err(answer.foreign(&url));
    }
    match member(&answer.json(), "keys").as_array().map(Vec::len) {
        None => Err(answer.foreign(&url)),
        Some(0) => Err(Failure::no("the authority publishes no keys").next("attorn key rotate")),
        Some(count) => Ok(format!("{count} keys to verify tokens with")),
    }
}

/// RFC 9449 section 11.1: a proof from a clock that is off is refused. The answer was dated at some
/// time between the question and its arrival here: what is outside of that is a difference.
fn clock(headers: &HeaderMap, (before_s, after_s): (u64, u64)) -> Result<String, Failure> {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    let Some(there_s) = date.and_then(http_date_s) else {
        return Ok("the authority tells no time".to_owned());
    };
    let (ahead_s, behind_s) = (before_s.saturating_sub(there_s), there_s.saturating_sub(after_s));
    if ahead_s > AHEAD_S_MAX || behind_s > BEHIND_S_MAX {
        let what = if ahead_s > 0 {
            format!("this machine is {ahead_s} s ahead of the authority")
        } else {
            format!("this machine is {behind_s} s behind the authority")
        };
        return Err(Failure::usage(what).next("set the clock: timedatectl set-ntp true"));
    }
    let (apart_s, took_s) = (ahead_s.max(behind_s), after_s.saturating_sub(before_s));
    Ok(if took_s > 1 {
        format!("{apart_s} s apart, give or take the {took_s} s that the answer took")
    } else {
        format!("{apart_s} s apart")
    })
}

/// RFC 9110 section 5.6.7, the form that is sent: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date_s(text: &str) -> Option<u64> {
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut parts = rest.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = u64::try_from(MONTHS.iter().position(|one| *one == month)?).ok()? + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    // Days since 1970 in the Gregorian calendar, years begun in March.
    let shifted = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (years, months) = shifted;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Step, what `/readyz` calls its failure, what is said without it, and the fix.
const READINESS: &[(&str, &str, &str, &str)] = &[
    (
        "journal",
        "journal.failed",
        "takes entries",
        "look at disk and log of `attorn serve`, then start it again",
    ),
    (
        "checkpoint",
        "checkpoint.late",
        "signed in time",
        "free space on the disk of the journal: df -h",
    ),
    ("snapshot", "snapshot.stale", "up to date", "see that the gateway reaches its authority"),
];
/// A proof may be dated 5 s ahead and 60 s back; a second for the way.
const AHEAD_S_MAX: u64 = 4;
const BEHIND_S_MAX: u64 = 55;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared() {
        // RFC 9110 section 5.6.7.
        assert_eq!(http_date_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date_s("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date_s("Tue, 29 Feb 2000 00:00:01 GMT"), Some(951_782_401));
        assert_eq!(http_date_s("yesterday"), None);
        let mut headers = HeaderMap::new();
        assert!(clock(&headers, (1, 1)).is_ok());
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        let there_s = 784_111_777;
        for (before_s, after_s, is_well) in [
            (there_s, there_s, true),
            (there_s + 4, there_s + 4, true),
            (there_s + 5, there_s + 5, false),
            (there_s - 55, there_s - 55, true),
            (there_s - 56, there_s - 56, false),
            // The answer took its time.
            (there_s, there_s + 9, true),
            (there_s - 60, there_s, true),
            (there_s + 5, there_s + 9, false),
        ] {
            let told = clock(&headers, (before_s, after_s));
            assert_eq!(told.is_ok(), is_well, "{before_s} {after_s}");
        }
        let told = clock(&headers, (there_s, there_s + 5)).unwrap();
        assert_eq!(told, "0 s apart, give or take the 5 s that the answer took");
    }
}
