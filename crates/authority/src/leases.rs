//! The leases that gateways are given: a time and a random part, sealed by this authority.
//!
//! The seal is for a registry that comes back from a backup, also where its version is that of the
//! mark: it does not know the newest leases, and believes those that are later than its own. The key
//! of the seal lies beside the signing keys, not in the registry. Alone it gives nothing: whoever
//! presents a lease needs the gateway's key as well.

use attorn_jose::{SignError, SigningKey, base64url, sha256};
use attorn_registry::AgentId;

/// Makes leases, and knows its own.
#[derive(Debug)]
pub(crate) struct LeaseSeal(SigningKey);

impl LeaseSeal {
    pub(crate) const fn new(key: SigningKey) -> Self {
        Self(key)
    }

    /// A new lease, given now.
    pub(crate) fn mint(
        &self,
        gateway: &AgentId,
        now_ms: u64,
        random: &[u8; 32],
    ) -> Result<String, SignError> {
        let body = format!("{now_ms}.{}", base64url(random));
        let seal = self.seal(gateway, &body)?;
        Ok(format!("{body}.{seal}"))
    }

    /// When this lease was given to this gateway; `None` for one that is not ours.
    pub(crate) fn given_ms(&self, gateway: &AgentId, lease: &str) -> Option<u64> {
        let (body, seal) = lease.rsplit_once('.')?;
        let expected = self.seal(gateway, body).ok()?;
        // Of digests: how long it takes tells nothing of the seal.
        let is_ours = sha256(expected.as_bytes()) == sha256(seal.as_bytes());
        body.split_once('.')?.0.parse().ok().filter(|_| is_ours)
    }

    /// RFC 8032 section 5.1.6: the signature of a text is the same each time, and nobody else can
    /// tell it.
    fn seal(&self, gateway: &AgentId, body: &str) -> Result<String, SignError> {
        let signature =
            self.0.sign(format!("attorn gateway lease\n{gateway}\n{body}").as_bytes())?;
        Ok(base64url(&sha256(&signature)))
    }
}

#[cfg(test)]
mod tests {
    use attorn_jose::Algorithm;

    use super::*;

    #[test]
    fn only_what_it_gave_to_this_gateway_is_its_own() {
        let seal = |seed: u8| {
            LeaseSeal::new(SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32]).unwrap())
        };
        let gateway = |seed: u8| AgentId::from_random(&[seed; 16]);
        let lease = seal(1).mint(&gateway(1), 700, &[5; 32]).unwrap();
        assert_eq!(seal(1).given_ms(&gateway(1), &lease), Some(700));
        assert_eq!(seal(1).given_ms(&gateway(2), &lease), None);
        assert_eq!(seal(2).given_ms(&gateway(1), &lease), None);
        for other in [lease.replacen('7', "8", 1), String::new(), "9".to_owned(), "9..".to_owned()]
        {
            assert_eq!(seal(1).given_ms(&gateway(1), &other), None, "{other}");
        }
    }
}
