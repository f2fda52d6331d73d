//! Where the shared memory is.

use std::net::IpAddr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use url::Url;
use zeroize::Zeroizing;

/// A checked address. Printing it shows no password.
#[derive(Clone)]
pub struct Address(ConnectionInfo);

/// Why an address is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Without TLS, whoever is on the way could answer for the memory.
    #[error("plain `redis://` is for loopback; use `unix://` or a tunnel that ends there")]
    NotLoopback,
    /// A password in the URL would stand in the configuration file.
    #[error("the password does not belong into the URL; use `password_file`")]
    Password,
    /// Neither `redis://` nor `unix://`.
    #[error("the URL must be `redis://[user@]host:port[/database]` or `unix:///path`")]
    Url,
}

impl Address {
    /// Parses `redis://[user@]host:port[/database]` or `unix:///path`.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &str, password: Option<&Zeroizing<String>>) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|_| AddressError::Url)?;
        if url.password().is_some() {
            return Err(AddressError::Password);
        }
        match (url.scheme(), url.host_str()) {
            ("redis", Some(host)) if !is_loopback(host) => return Err(AddressError::NotLoopback),
            ("redis", Some(_)) => {}
            ("unix", None) if url.query().is_none() => {}
            _ => return Err(AddressError::Url),
        }
        let info = url.into_connection_info().map_err(|_| AddressError::Url)?;
        let Some(password) = password else { return Ok(Self(info)) };
        let settings = info.redis_settings().clone().set_password(password.as_str());
        Ok(Self(info.set_redis_settings(settings)))
    }

    pub(crate) fn client(&self) -> Result<redis::Client, redis::RedisError> {
        redis::Client::open(self.0.clone())
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                write!(f, "redis://{host}:{port}")
            }
            ConnectionAddr::Unix(path) => write!(f, "unix://{}", path.display()),
            _ => f.write_str("another address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_sockets_are_taken() {
        for text in ["redis://127.0.0.1:6379", "redis://attorn@[::1]:1/2", "unix:///run/redis.sock"]
        {
            assert!(Address::parse(text, None).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_others_could_answer_is_refused() {
        let refused = |text| Address::parse(text, None).unwrap_err();
        assert_eq!(refused("redis://10.0.0.1:6379"), AddressError::NotLoopback);
        assert_eq!(refused("redis://redis.example:6379"), AddressError::NotLoopback);
        assert_eq!(refused("redis://:secret@127.0.0.1:6379"), AddressError::Password);
        assert_eq!(refused("http://127.0.0.1:6379"), AddressError::Url);
        assert_eq!(refused("no address"), AddressError::Url);
    }

    #[test]
    fn a_password_is_not_printed() {
        let password = Zeroizing::new("secret-of-a-test".to_owned());
        let address = Address::parse("redis://127.0.0.1:6379", Some(&password)).unwrap();
        assert_eq!(format!("{address:?}"), "redis://127.0.0.1:6379");
    }
}
