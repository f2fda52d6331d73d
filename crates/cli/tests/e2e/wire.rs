//! A wire between two programs, which a test can lead elsewhere or cut at a word.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Carries connections to where it leads at the moment they come.
pub(crate) struct Wire {
    pub(crate) address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    target: Mutex<String>,
    /// A request that holds this is carried, and its answer is not.
    cut_at: Mutex<Option<&'static str>>,
    was_cut: AtomicBool,
}

impl Wire {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let carried = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = carried.target.lock().unwrap().clone();
                let Ok(server) = TcpStream::connect(target) else { continue };
                carry(client, server, &carried);
            }
        });
        Self { address, state }
    }

    /// Leads connections that come from now on elsewhere.
    pub(crate) fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.state.target.lock().unwrap());
    }

    /// Loses the answer to the next request that holds this text.
    pub(crate) fn cut_at(&self, text: &'static str) {
        *self.state.cut_at.lock().unwrap() = Some(text);
    }

    pub(crate) fn was_cut(&self) -> bool {
        self.state.was_cut.load(Ordering::SeqCst)
    }
}

fn carry(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    let is_mute = Arc::new(AtomicBool::new(false));
    let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (there, mute) = (Arc::clone(state), Arc::clone(&is_mute));
    std::thread::spawn(move || {
        pump(from_client, to_server, |bytes| {
            let mut cut_at = there.cut_at.lock().unwrap();
            let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            if cut_at.is_some_and(holds) {
                *cut_at = None;
                mute.store(true, Ordering::SeqCst);
            }
            true
        });
    });
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        pump(server, client, |_bytes| {
            // The answer is there: what it tells was done.
            let is_mute = is_mute.load(Ordering::SeqCst);
            state.was_cut.fetch_or(is_mute, Ordering::SeqCst);
            !is_mute
        });
    });
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Either side may be gone already.
    let _ended = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
