//! Who acts for the subject of a token: the chain of RFC 8693 section 4.1.
//!
//! Implemented: reading a chain of bounded length, and wrapping it by one more actor. Not implemented:
//! other members of an actor than `sub`.

use serde::{Deserialize, Serialize};

use crate::access_token::TokenRefusal;
use crate::claim::{Text, is_identifier, object};

/// The deepest chain of actors.
pub const ACTOR_DEPTH_MAX: usize = 4;
/// Why a chain of actors cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainRefusal {
    /// It would be longer than [`ACTOR_DEPTH_MAX`].
    Depth,
    /// The next actor acts in it already, or is its subject.
    Repeated,
}

/// One actor of a chain: RFC 8693 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// Who acted before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
    /// The identity of the actor.
    pub sub: String,
}

impl Actor {
    /// The chain with one more actor, outermost: RFC 8693 section 4.1. What was there is history
    /// and grants nothing.
    ///
    /// # Errors
    /// [`ChainRefusal`].
    pub fn wrap(chain: Option<&Self>, subject: &str, next: &str) -> Result<Self, ChainRefusal> {
        let earlier = || std::iter::successors(chain, |actor| actor.act.as_deref());
        if subject == next || earlier().any(|actor| actor.sub == next) {
            return Err(ChainRefusal::Repeated);
        }
        if earlier().count() >= ACTOR_DEPTH_MAX {
            return Err(ChainRefusal::Depth);
        }
        Ok(Self { act: chain.cloned().map(Box::new), sub: next.to_owned() })
    }

    /// The chain for the log: the current actor first.
    #[must_use]
    pub fn chain(&self) -> String {
        let actors = std::iter::successors(Some(self), |actor| actor.act.as_deref());
        actors.map(|actor| actor.sub.as_str()).collect::<Vec<_>>().join(" ")
    }
}

#[derive(Deserialize)]
struct WireActor<'a> {
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow, default, deserialize_with = "object")]
    act: Option<Box<Self>>,
}

/// RFC 8693 section 4.1: objects all the way down, each with a `sub`, and a bounded number of them.
pub(crate) fn actor(text: &str) -> Result<Actor, TokenRefusal> {
    if !text.starts_with('{') {
        return Err(TokenRefusal::ActorChain);
    }
    let wire: WireActor<'_> = serde_json::from_str(text).map_err(|_| TokenRefusal::ActorChain)?;
    actor_of(&wire, ACTOR_DEPTH_MAX)
}

fn actor_of(wire: &WireActor<'_>, depth_left: usize) -> Result<Actor, TokenRefusal> {
    if depth_left == 0 || !is_identifier(&wire.sub.0) {
        return Err(TokenRefusal::ActorChain);
    }
    let act = wire.act.as_ref().map(|inner| actor_of(inner, depth_left - 1)).transpose()?;
    Ok(Actor { act: act.map(Box::new), sub: wire.sub.0.clone().into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(actors: &[&str]) -> Option<Actor> {
        actors
            .iter()
            .rev()
            .fold(None, |act, sub| Some(Actor { act: act.map(Box::new), sub: (*sub).to_owned() }))
    }

    #[test]
    fn the_next_actor_stands_outermost() {
        assert_eq!(Actor::wrap(None, "ann", "srv"), Ok(chain(&["srv"]).unwrap()));
        let wrapped = Actor::wrap(chain(&["agt"]).as_ref(), "ann", "srv").unwrap();
        assert_eq!(wrapped, chain(&["srv", "agt"]).unwrap());
        assert_eq!(wrapped.chain(), "srv agt");
    }

    #[test]
    fn a_chain_is_bounded_and_does_not_return() {
        let three = chain(&["c", "b", "a"]);
        let four = Actor::wrap(three.as_ref(), "ann", "d").unwrap();
        assert_eq!(Actor::wrap(Some(&four), "ann", "e"), Err(ChainRefusal::Depth));
        for next in ["ann", "a", "c"] {
            let refused = Actor::wrap(three.as_ref(), "ann", next);
            assert_eq!(refused, Err(ChainRefusal::Repeated), "{next}");
        }
    }
}
