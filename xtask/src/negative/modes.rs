//! The ways in which the rows are played, and which case can be played in which.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::rows::{Case, Mtls};

/// The version of HTTP that requests go out in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Http {
    /// HTTP/1.1.
    #[value(name = "1")]
    One,
    /// HTTP/2.
    #[value(name = "2")]
    Two,
}

/// How many gateways serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Nodes {
    /// The one in the authority's process.
    #[value(name = "1")]
    One,
    /// Beside it one in a process of its own, which follows the authority. It is asked; positive
    /// twins are asked of both.
    #[value(name = "2")]
    Two,
}

/// What the gateway knows of a token when the request of a case arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Cache {
    /// It never saw the token.
    Cold,
    /// It took the token in a request just before.
    Warm,
}

/// One way to play all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Combination {
    /// The version of HTTP.
    pub http: Http,
    /// How many gateways.
    pub nodes: Nodes,
    /// What they know.
    pub cache: Cache,
}

/// Which combinations to play.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Modes {
    /// Only this version of HTTP
    #[arg(long, value_enum)]
    http: Option<Http>,
    /// Only with so many gateways
    #[arg(long, value_enum)]
    nodes: Option<Nodes>,
    /// Only with tokens that the gateway has not seen, or has just taken
    #[arg(long, value_enum)]
    cache: Option<Cache>,
}

/// Why a case cannot be played in a combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Elsewhere {
    /// It is about the text of HTTP/1.1, or its peer speaks nothing else.
    Http1,
    /// It is about frames.
    Http2,
    /// Its peer stands in front of one gateway.
    OneNode,
}

impl Combination {
    /// Two values of two modes meet in one of these, whichever one takes.
    pub const PAIRWISE: [Self; 4] = [
        Self { http: Http::One, nodes: Nodes::One, cache: Cache::Cold },
        Self { http: Http::One, nodes: Nodes::Two, cache: Cache::Warm },
        Self { http: Http::Two, nodes: Nodes::One, cache: Cache::Warm },
        Self { http: Http::Two, nodes: Nodes::Two, cache: Cache::Cold },
    ];

    /// The one that needs least.
    pub const PLAIN: Self = Self { http: Http::One, nodes: Nodes::One, cache: Cache::Cold };

    /// Why a case is not played here; `None` when it is.
    pub(super) fn leaves_out(self, case: &Case) -> Option<Elsewhere> {
        let has_own_peer = case.base.as_deref() == Some("connect");
        let is_text = |mtls: &Mtls| mtls.options.iter().any(|option| option == "--http1.1");
        let is_text = case.wire.is_some() || case.mtls.as_ref().is_some_and(is_text);
        if self.http == Http::One && case.http2.is_some() {
            return Some(Elsewhere::Http2);
        }
        if self.http == Http::Two && (has_own_peer || is_text || sets_connection(case)) {
            return Some(Elsewhere::Http1);
        }
        (self.nodes == Nodes::Two && has_own_peer).then_some(Elsewhere::OneNode)
    }
}

/// RFC 9113 section 8.2.2: fields that HTTP/2 does not have.
fn sets_connection(case: &Case) -> bool {
    let more = case.more_headers.iter().map(|(name, _)| name);
    case.headers.keys().chain(more).any(|name| {
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
    })
}

impl Modes {
    /// All of [`Combination::PAIRWISE`] that fit; exactly one where all three modes are named.
    pub(super) fn chosen(self) -> Vec<Combination> {
        if let Self { http: Some(http), nodes: Some(nodes), cache: Some(cache) } = self {
            return vec![Combination { http, nodes, cache }];
        }
        let fits = |one: &Combination| {
            self.http.is_none_or(|http| http == one.http)
                && self.nodes.is_none_or(|nodes| nodes == one.nodes)
                && self.cache.is_none_or(|cache| cache == one.cache)
        };
        Combination::PAIRWISE.into_iter().filter(fits).collect()
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let http = match self.http {
            Http::One => "HTTP/1.1",
            Http::Two => "HTTP/2",
        };
        let nodes = match self.nodes {
            Nodes::One => "one node",
            Nodes::Two => "two nodes",
        };
        let cache = match self.cache {
            Cache::Cold => "cold",
            Cache::Warm => "warm",
        };
        write!(f, "{http}, {nodes}, {cache}")
    }
}

impl FromStr for Combination {
    type Err = String;

    /// `2.1.warm`: the values of the three options.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.');
        let (http, nodes, cache) = (parts.next(), parts.next(), parts.next());
        let combination = Self {
            http: Http::from_str(http.unwrap_or_default(), false)?,
            nodes: Nodes::from_str(nodes.unwrap_or_default(), false)?,
            cache: Cache::from_str(cache.unwrap_or_default(), false)?,
        };
        if parts.next().is_none() { Ok(combination) } else { Err(format!("`{text}` is too long")) }
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1 only",
            Self::Http2 => "HTTP/2 only",
            Self::OneNode => "one node only",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Http2;
    use super::*;

    #[test]
    fn every_two_values_of_two_modes_meet() {
        let set = Combination::PAIRWISE;
        for http in [Http::One, Http::Two] {
            for nodes in [Nodes::One, Nodes::Two] {
                assert!(set.iter().any(|one| (one.http, one.nodes) == (http, nodes)));
            }
            for cache in [Cache::Cold, Cache::Warm] {
                assert!(set.iter().any(|one| (one.http, one.cache) == (http, cache)));
            }
        }
        for (nodes, cache) in [
            (Nodes::One, Cache::Cold),
            (Nodes::One, Cache::Warm),
            (Nodes::Two, Cache::Cold),
            (Nodes::Two, Cache::Warm),
        ] {
            assert!(set.iter().any(|one| (one.nodes, one.cache) == (nodes, cache)));
        }
        assert!(set.contains(&Combination::PLAIN));
    }

    #[test]
    fn options_choose() {
        assert_eq!(Modes::default().chosen(), Combination::PAIRWISE);
        let http2 = Modes { http: Some(Http::Two), ..Modes::default() };
        assert_eq!(http2.chosen().len(), 2);
        let all =
            Modes { http: Some(Http::One), nodes: Some(Nodes::One), cache: Some(Cache::Warm) };
        assert_eq!(all.chosen(), ["1.1.warm".parse::<Combination>().unwrap()]);
        assert!("1.3.warm".parse::<Combination>().is_err());
        assert!("1.2".parse::<Combination>().is_err());
        assert!("1.2.warm.1".parse::<Combination>().is_err());
    }

    #[test]
    fn a_case_is_left_out_where_it_has_no_meaning() {
        let [plain, two_nodes, http2, both] = Combination::PAIRWISE;
        let check = |case: &Case, expected: [Option<Elsewhere>; 4]| {
            let found = [plain, two_nodes, http2, both].map(|one| one.leaves_out(case));
            assert_eq!(found, expected, "{case:?}");
        };
        let (first, second) = (Some(Elsewhere::Http1), Some(Elsewhere::Http2));
        check(&Case::default(), [None; 4]);
        let wire = Case { wire: Some(String::new()), ..Case::default() };
        check(&wire, [None, None, first, first]);
        let mtls = |options: &[&str]| {
            let options = options.iter().map(|&option| option.to_owned()).collect();
            Case { mtls: Some(Mtls { options, ..Mtls::default() }), ..Case::default() }
        };
        check(&mtls(&[]), [None; 4]);
        check(&mtls(&["--http1.1"]), [None, None, first, first]);
        let frames = Case { http2: Some(Http2::default()), ..Case::default() };
        check(&frames, [second, second, None, None]);
        let connect = Case { base: Some("connect".to_owned()), ..Case::default() };
        check(&connect, [None, Some(Elsewhere::OneNode), first, first]);
        let coded = [("Transfer-Encoding".to_owned(), "chunked".to_owned())];
        let coded = Case { more_headers: coded.into(), ..Case::default() };
        check(&coded, [None, None, first, first]);
    }
}
