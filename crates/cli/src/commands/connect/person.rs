//! `attorn connect --person`: the key, the file and the browser of an application that acts for a
//! person.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use attorn_connect::code::{Browser, KnownClient, PersonClient};
use attorn_connect::key_file::{self, KeyFileError};
use attorn_connect::login_file::LoginFile;
use attorn_connect::secret::ClientSecret;
use attorn_jose::{Algorithm, SigningKey, base64url, sha256};
use url::Url;
use zeroize::Zeroizing;

use super::ConnectArgs;
use crate::commands::Context;
use crate::exit::Failure;
use crate::files;
use crate::output::write_error;
use crate::outside::{causes, system_random};

/// Who asks the person, and with what.
pub(super) fn client(context: &Context, args: &ConnectArgs) -> Result<PersonClient, Failure> {
    let folder = context.profile.join("people");
    // One for each server: what a person gave at one is no business of another.
    let name = base64url(&sha256(args.server.as_bytes()));
    let key = key(&folder, &name)?;
    let file = Some(LoginFile::new(folder.join(format!("{name}.json"))));
    let known = match &args.client_id {
        Some(client_id) => {
            let secret = args.client_secret.as_deref().map(secret).transpose()?;
            Some(KnownClient { client_id: client_id.clone(), secret })
        }
        None => None,
    };
    let browser = browser(args.browser.as_deref());
    Ok(PersonClient { known, key, browser, file })
}

/// What was given is bound to a key, so the key lasts as long.
fn key(folder: &Path, name: &str) -> Result<SigningKey, Failure> {
    let failed = |error: &KeyFileError| Failure::usage(causes(error));
    match key_file::create(folder, name, Algorithm::EdDsa, &system_random()) {
        Ok(key) => Ok(key),
        Err(KeyFileError::Exists { .. }) => key_file::load(folder, name).map_err(|e| failed(&e)),
        Err(error) => Err(failed(&error)),
    }
}

pub(super) fn secret(path: &Path) -> Result<ClientSecret, Failure> {
    let text = Zeroizing::new(files::read_private(path)?);
    Ok(ClientSecret::new(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())))
}

fn browser(program: Option<&str>) -> Browser {
    let program = program.map(str::to_owned);
    Browser::new(move |url| {
        // Standard output belongs to the protocol.
        write_error(&format!("log in and answer in the browser: {url}"));
        match program.as_deref() {
            Some("none") => Ok(()),
            Some(program) => start(program, url),
            // Without a desktop the address on the terminal will do.
            None => {
                let _no_desktop = start(DESKTOP, url).is_err();
                Ok(())
            }
        }
    })
}

/// Without a shell: the address comes from a server.
fn start(program: &str, url: &Url) -> io::Result<()> {
    let mut words = program.split_ascii_whitespace();
    let first = words.next().ok_or_else(|| io::Error::other("no program is named"))?;
    let mut command = Command::new(first);
    command.args(words).arg(url.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // Nobody waits for a browser; a thread collects it, or it would stay as a zombie.
    std::thread::spawn(move || child.wait());
    Ok(())
}

#[cfg(target_os = "macos")]
const DESKTOP: &str = "open";
#[cfg(not(target_os = "macos"))]
const DESKTOP: &str = "xdg-open";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_argument_and_no_shell_reads_it() {
        let url = Url::parse("https://id.example/authorize?a=1&b=$(id);c").unwrap();
        let folder = std::env::temp_dir().join(format!("attorn-browser-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let said = folder.join("said");
        let script = folder.join("browser.sh");
        let text =
            format!("#!/bin/sh\nprintf '%s|' \"$@\" > {}.new\nmv {0}.new {0}\n", said.display());
        std::fs::write(&script, text).unwrap();
        let program = format!("sh {} --new-window", script.display());
        start(&program, &url).unwrap();
        let read = (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            std::fs::read_to_string(&said).ok()
        });
        assert_eq!(read.unwrap(), format!("--new-window|{url}|"));
        assert!(start("", &url).is_err() && start("/nonexistent/browser", &url).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
