//! Sends the journal to the systems that the configuration names.

use std::path::Path;

use attorn_audit::{Entry, Kind};
use attorn_journal::Durability;
use attorn_net::{Clock, Shutdown};
use attorn_telemetry::{Destination, Shipper, Shipping, Telemetry};
use http::{HeaderValue, Uri};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::config::{Config, Ship};
use crate::exit::Failure;
use crate::files;
use crate::outside::{causes, connect_world};

use super::node::Node;

/// Starts them all; each is an export, so each start of one is recorded.
pub(super) async fn start(
    config: &Config,
    (node, clock): (&Node, &Clock),
    (telemetry, serving): (&Telemetry, &mut JoinSet<()>),
    stop: impl Fn() -> Shutdown,
) -> Result<Vec<Shipping>, Failure> {
    let mut all = Vec::with_capacity(config.ship.len());
    for ship in &config.ship {
        let (shipper, host) = shipper(config, ship, (node, clock)).await?;
        let shipping = shipper.shipping();
        let mut entry = Entry::new(Kind::JournalShipping, clock.now_ms());
        entry.by = Some("attorn".to_owned());
        let facts =
            [("ship", ship.name.clone()), ("to", host), ("from", shipping.next().to_string())];
        entry.detail.extend(facts.map(|(name, value)| (name.to_owned(), value)));
        let recorded = node.journal.append(entry.to_canonical(), Durability::Fsync).await;
        recorded.map_err(|e| Failure::broken(format!("cannot write the journal: {e}")))?;
        let told = shipping.clone();
        telemetry.add_source(move |out| told.collect(out));
        serving.spawn(shipper.run(stop()));
        all.push(shipping);
    }
    Ok(all)
}

async fn shipper(
    config: &Config,
    ship: &Ship,
    (node, clock): (&Node, &Clock),
) -> Result<(Shipper, String), Failure> {
    let wrong = |what: String| Failure::usage(format!("`ship` {}: {what}", ship.name));
    let url: Uri = ship.url.parse().map_err(|e| wrong(format!("`{}`: {e}", ship.url)))?;
    let host = url.authority().map(ToString::to_string);
    let host = host.ok_or_else(|| wrong(format!("`{}` is not a whole URL", ship.url)))?;
    // RFC 3986 section 3.2.1: what is before the `@` would be a secret in the configuration.
    if host.contains('@') {
        return Err(wrong("a URL holds no secret: `authorization_file` is for that".to_owned()));
    }
    let destination = Destination {
        name: ship.name.clone(),
        url,
        authorization: ship.authorization_file.as_deref().map(authorization).transpose()?,
        form: ship.format,
        kinds: ship.kinds.clone(),
        cursor: ship.cursor(&config.state),
    };
    let client = connect_world(ship.roots.as_deref())?.client;
    let shipper = Shipper::new(destination, node.journal.clone(), client, clock.clone()).await;
    Ok((shipper.map_err(|e| wrong(causes(&e)))?, host))
}

fn authorization(path: &Path) -> Result<HeaderValue, Failure> {
    let text = Zeroizing::new(files::read_private(path)?);
    let mut value = HeaderValue::from_str(text.trim())
        .map_err(|_| Failure::usage(format!("`{}` is no value of a header", path.display())))?;
    value.set_sensitive(true);
    Ok(value)
}
