//! Everything in one folder, for `dev` and `wrap`: a config made here, ports of the system's choice.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use crate::admin::Admin;
use crate::commands::enroll::{Enrolment, KeyType, enroll};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::Output;
use crate::outside::causes;
use crate::profile::{Profile, Who};

use super::World;

impl World {
    /// Starts all roles on the state in `folder`. Addresses are chosen once: they are the names
    /// in tokens and profiles. `sample` says where a sample API is, which gets a guard, and the server
    /// `invoices` a way to it; and what else the configuration is to hold.
    pub(crate) async fn start_embedded(
        folder: &Path,
        gateway: Option<SocketAddr>,
        sample: Option<(&str, &str)>,
    ) -> Result<Self, Failure> {
        let path = folder.join("attorn.toml");
        if !path.exists() {
            let mut text = config_text(gateway)?;
            if let Some((api, more)) = sample {
                text.push_str(&chain_text(api)?);
                text.push_str(more);
            }
            std::fs::write(&path, text)
                .map_err(|e| Failure::usage(format!("cannot write `{}`: {e}", path.display())))?;
        }
        Self::start(Config::load(&path)?).await
    }

    /// The administrator whose profile is in `folder`, enrolled now if there is none.
    pub(crate) async fn enroll_administrator(
        &self,
        folder: &Path,
        output: Output,
    ) -> Result<Admin, Failure> {
        let Some(own) = &self.own else {
            return Err(Failure::usage("there is no authority in this folder"));
        };
        let code = own.authority.first_operator_code().await;
        if let Some(code) = code.map_err(|e| Failure::usage(causes(&e)))? {
            let code = zeroize::Zeroizing::new(code.into_text());
            let enrolment =
                Enrolment { issuer: self.issuer(), code: &code, key_type: KeyType::Ed25519 };
            enroll(&enrolment, None, folder).await?;
        }
        Admin::with_profile(Profile::load(folder, Who::Operator)?, output).await
    }
}

fn config_text(gateway: Option<SocketAddr>) -> Result<String, Failure> {
    let (authority, admin) = (free_port()?, free_port()?);
    let gateway = match gateway {
        Some(address) if address.port() != 0 => address,
        Some(_) | None => free_port()?,
    };
    Ok(format!(
        r#"# Made by attorn for this folder.
state = "state"

[authority]
issuer = "http://{authority}"
admin_url = "http://{admin}"
gateway_url = "http://{gateway}"

[gateway]
public_url = "http://{gateway}"

[listen]
authority = "{authority}"
admin = "{admin}"
gateway = "{gateway}"
"#
    ))
}

fn chain_text(api: &str) -> Result<String, Failure> {
    let guard = free_port()?;
    Ok(format!(
        r#"
[[guard]]
public_url = "http://{guard}/billing"
listen = "{guard}"
upstream = "{api}"

[[egress]]
server = "invoices"
resource = "http://{guard}/billing"
variable = "INVOICES_API_URL"
"#
    ))
}

/// A port that is free now. It could be taken before it is bound; then the start fails and says so.
fn free_port() -> Result<SocketAddr, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|e| Failure::usage(format!("no port is free: {e}")))
}
