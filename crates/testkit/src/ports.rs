//! Ports for processes under test, which have to be told where to listen before they do.
//!
//! A port that the system gave and that is let go again may be given to somebody's connection a
//! moment later, and the process under test then finds it taken. These ports are below those that
//! Linux and macOS give to connections, and a process that hands them out holds the first one of
//! their block, so that no other one hands out the same.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 10_000;
/// Connections are given ports from 32,768 on.
const BLOCKS: u16 = 220;
const BLOCK: u16 = 100;

/// The blocks of this process, the one in use last. Held as long as it runs.
static CLAIMED: Mutex<Vec<Block>> = Mutex::new(Vec::new());

struct Block {
    /// The first port of the block.
    claim: TcpListener,
    /// How many ports were looked at.
    used: u16,
}

/// A loopback port that nobody listens on, and that is given to no one else.
///
/// # Errors
/// When no block is left, or the system refuses.
pub fn free_port() -> io::Result<u16> {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if claimed.last().is_none_or(|block| block.used >= BLOCK - 1) {
            claimed.push(claim()?);
        }
        let Some(block) = claimed.last_mut() else { continue };
        block.used += 1;
        let port = block.claim.local_addr()?.port() + block.used;
        if listener(port).is_ok() {
            return Ok(port);
        }
    }
}

/// The same, with the address.
///
/// # Errors
/// The same.
pub fn free_address() -> io::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

fn claim() -> io::Result<Block> {
    let ports = (0..BLOCKS).map(|block| FIRST + block * BLOCK);
    let claim = ports.map(listener).find_map(Result::ok);
    let claim = claim.ok_or_else(|| io::Error::other("every block of ports is in use"))?;
    Ok(Block { claim, used: 0 })
}

fn listener(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_free_and_given_once() {
        let taken = listener(free_port().unwrap() + 1).unwrap();
        let ports: Vec<u16> = (0..150).map(|_| free_port().unwrap()).collect();
        let given: BTreeSet<&u16> = ports.iter().collect();
        assert_eq!(given.len(), ports.len());
        assert!(!given.contains(&taken.local_addr().unwrap().port()));
        let open: Vec<_> = ports.iter().map(|&port| listener(port).unwrap()).collect();
        assert!(open.iter().all(|one| one.local_addr().unwrap().port() < 32_768));
    }
}
