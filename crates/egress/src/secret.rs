//! Static keys of APIs: read where the operator keeps them, held for a while, told to nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::config::StaticKey;

/// A key, and when it was read.
#[derive(Default)]
pub(crate) struct Secret(Mutex<Option<(Instant, HeaderValue)>>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Why there is no key. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFailure {
    #[error("the program that prints the key failed")]
    Command,
    #[error("the file of the key cannot be read")]
    File(#[source] std::io::Error),
    #[error("the file of the key can be read by others")]
    FileOpen,
    #[error("what was read is no key: one line of visible ASCII")]
    Form,
}

impl Secret {
    /// The header that carries the key.
    pub(crate) async fn header(
        &self,
        key: &StaticKey,
    ) -> Result<(HeaderName, HeaderValue), SecretFailure> {
        let name = key.header.parse().map_err(|_| SecretFailure::Form)?;
        let mut held = self.0.lock().await;
        if let Some((read, value)) = held.as_ref()
            && read.elapsed() < HELD
        {
            return Ok((name, value.clone()));
        }
        let text = read(key).await?;
        let text = Zeroizing::new(format!("{}{}", key.prefix, text.trim_end()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| SecretFailure::Form)?;
        if text.trim_end().len() == key.prefix.trim_end().len() {
            return Err(SecretFailure::Form);
        }
        value.set_sensitive(true);
        *held = Some((Instant::now(), value.clone()));
        Ok((name, value))
    }
}

async fn read(key: &StaticKey) -> Result<Zeroizing<String>, SecretFailure> {
    if let Some(path) = &key.file {
        let meta = tokio::fs::metadata(path).await.map_err(SecretFailure::File)?;
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(SecretFailure::FileOpen);
        }
        let text = tokio::fs::read_to_string(path).await.map_err(SecretFailure::File)?;
        return Ok(Zeroizing::new(text));
    }
    let (program, arguments) =
        key.command.as_deref().and_then(<[String]>::split_first).ok_or(SecretFailure::Command)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_TAKES, command.output()).await;
    let output = output.ok().and_then(Result::ok).filter(|output| output.status.success());
    let bytes = Zeroizing::new(output.ok_or(SecretFailure::Command)?.stdout);
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretFailure::Form)?;
    Ok(Zeroizing::new(text.to_owned()))
}

const HELD: Duration = Duration::from_secs(300);
const COMMAND_TAKES: Duration = Duration::from_secs(10);
